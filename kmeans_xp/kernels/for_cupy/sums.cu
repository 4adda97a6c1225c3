// Weighted sums of the rows of each cluster, and the centroids that follow from them.

// out[cell] = sum over parts of partials[part, cell], in a fixed order: the lanes of a warp lie
// across cells, and the warps of a block across parts.
extern "C" __global__ void __launch_bounds__(1024)
merge_parts(const double* partials, i64 n_parts, i64 n_cells, double* out) {
    __shared__ double of_warp[32][32];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, n_warps = blockDim.x / 32;
    i64 cell = blockIdx.x * 32ll + lane;
    double total = 0.0;
    if (cell < n_cells) {
#pragma unroll 4
        for (i64 part = warp; part < n_parts; part += n_warps) {
            total += partials[part * n_cells + cell];
        }
    }
    of_warp[warp][lane] = total;
    __syncthreads();
    if (warp == 0 && cell < n_cells) {
        for (int other = 1; other < n_warps; ++other) total += of_warp[other][lane];
        out[cell] = total;
    }
}

// ---- sums of many clusters: rows in the order of their labels, added up in pieces ----

extern "C" __global__ void __launch_bounds__(THREADS)
count_labels(const int* labels, int n_rows, int rows_per_chunk, int n_chunks, int* histogram) {
    int row = blockIdx.x * THREADS + threadIdx.x;
    if (row < n_rows) {
        int chunk = row / rows_per_chunk;
        atomicAdd(&histogram[static_cast<i64>(labels[row]) * n_chunks + chunk], 1);
    }
}

// One block: turns counts into places. starts[c] is where cluster c begins in the sorted
// order, piece_starts[c] the number of its first piece; both have n_clusters + 1 numbers.
extern "C" __global__ void __launch_bounds__(1024)
scan_histogram(int* histogram, int n_clusters, int n_chunks, int rows_per_piece, int* starts,
               int* piece_starts) {
    __shared__ int of_thread[1024];
    i64 n_cells = static_cast<i64>(n_clusters) * n_chunks;
    i64 share = (n_cells + 1023) / 1024;
    i64 begin = min(threadIdx.x * share, n_cells);
    i64 end = min(begin + share, n_cells);
    int sum = 0;
    for (i64 cell = begin; cell < end; ++cell) sum += histogram[cell];
    of_thread[threadIdx.x] = sum;
    __syncthreads();
    for (int step = 1; step < 1024; step *= 2) {
        int before = threadIdx.x >= step ? of_thread[threadIdx.x - step] : 0;
        __syncthreads();
        of_thread[threadIdx.x] += before;
        __syncthreads();
    }
    int place = of_thread[threadIdx.x] - sum;
    for (i64 cell = begin; cell < end; ++cell) {
        int count = histogram[cell];
        histogram[cell] = place;
        if (cell % n_chunks == 0) starts[cell / n_chunks] = place;
        place += count;
    }
    if (threadIdx.x == 1023) starts[n_clusters] = of_thread[1023];
    __syncthreads();

    share = (n_clusters + 1023) / 1024;
    begin = min(threadIdx.x * share, static_cast<i64>(n_clusters));
    end = min(begin + share, static_cast<i64>(n_clusters));
    sum = 0;
    for (i64 c = begin; c < end; ++c) {
        sum += (starts[c + 1] - starts[c] + rows_per_piece - 1) / rows_per_piece;
    }
    of_thread[threadIdx.x] = sum;
    __syncthreads();
    for (int step = 1; step < 1024; step *= 2) {
        int before = threadIdx.x >= step ? of_thread[threadIdx.x - step] : 0;
        __syncthreads();
        of_thread[threadIdx.x] += before;
        __syncthreads();
    }
    place = of_thread[threadIdx.x] - sum;
    for (i64 c = begin; c < end; ++c) {
        piece_starts[c] = place;
        place += (starts[c + 1] - starts[c] + rows_per_piece - 1) / rows_per_piece;
    }
    if (threadIdx.x == 1023) piece_starts[n_clusters] = of_thread[1023];
}

// Row numbers in the order of their labels, a warp a chunk. Stable: a row's place follows from
// the rows before it alone, so sums are added in the same order every time.
extern "C" __global__ void __launch_bounds__(32)
scatter_rows(const int* labels, int n_rows, int rows_per_chunk, int n_chunks, int* places,
             int* order) {
    int chunk = blockIdx.x;
    int lane = threadIdx.x;
    int begin = chunk * rows_per_chunk;
    int end = min(begin + rows_per_chunk, n_rows);
    for (int first = begin; first < end; first += 32) {
        int row = first + lane;
        int label = row < end ? labels[row] : -1;
        unsigned same = __match_any_sync(FULL_MASK, label);
        int rank = __popc(same & ((1u << lane) - 1u));
        int leader = __ffs(same) - 1;
        int place = 0;
        if (lane == leader && label >= 0) {
            i64 cell = static_cast<i64>(label) * n_chunks + chunk;
            place = places[cell];
            places[cell] = place + __popc(same);
        }
        place = __shfl_sync(FULL_MASK, place, leader);
        if (label >= 0) order[place + rank] = row;
        __syncwarp();
    }
}

// The weighted sum of one piece of a cluster's rows; threads lie across the features.
template <typename In, typename T>
__global__ void __launch_bounds__(THREADS)
sum_pieces(const In* points, const T* weights, const T* origin, const int* order,
           const int* starts, const int* piece_starts, int n_features, int n_clusters,
           int rows_per_piece, double* sums, double* mass) {
    int piece = blockIdx.x;
    if (piece >= piece_starts[n_clusters]) return;
    int low = 0, high = n_clusters;  // the last cluster whose first piece is not after this one
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (piece_starts[middle] <= piece) low = middle; else high = middle;
    }
    int begin = starts[low] + (piece - piece_starts[low]) * rows_per_piece;
    int end = min(begin + rows_per_piece, starts[low + 1]);
    int feature = blockIdx.y * blockDim.x + threadIdx.x;
    if (feature < n_features) {
        T shift = origin ? origin[feature] : T(0);
        double sum = 0.0;
        for (int at = begin; at < end; ++at) {
            i64 row = order[at];
            T value = loaded<T>(points[row * n_features + feature]) - shift;
            sum += weights ? static_cast<double>(weights[row]) * value : static_cast<double>(value);
        }
        sums[static_cast<i64>(piece) * n_features + feature] = sum;
    }
    if (feature == 0) {
        double sum = 0.0;
        for (int at = begin; at < end; ++at) sum += weights ? weights[order[at]] : 1.0;
        mass[piece] = sum;
    }
}

// Adds each cluster's pieces, in their order, to its totals.
extern "C" __global__ void __launch_bounds__(THREADS)
merge_pieces(const double* piece_sums, const double* piece_mass, const int* piece_starts,
             int n_features, int n_clusters, double* sums, double* mass) {
    i64 cell = static_cast<i64>(blockIdx.x) * THREADS + threadIdx.x;
    if (cell >= static_cast<i64>(n_clusters) * n_features) return;
    int cluster = static_cast<int>(cell / n_features);
    int feature = static_cast<int>(cell - static_cast<i64>(cluster) * n_features);
    double sum = 0.0, weight = 0.0;
    for (int piece = piece_starts[cluster]; piece < piece_starts[cluster + 1]; ++piece) {
        sum += piece_sums[static_cast<i64>(piece) * n_features + feature];
        weight += piece_mass[piece];
    }
    sums[cell] += sum;
    if (feature == 0) mass[cluster] += weight;
}

// ---- the new centroids, and the three numbers that steer the loop; a block a restart ----

template <typename T>
__global__ void __launch_bounds__(1024)
means_and_signals(const double* sums, const double* mass, const T* old, int n_clusters,
                  int n_features, T* centroids, double* signals) {
    __shared__ double of_warp[3][32];
    double of_thread[3] = {0.0, 0.0, 0.0};  // sq_shift, n_empty, explained
    i64 n_cells = static_cast<i64>(n_clusters) * n_features;
    sums += blockIdx.x * n_cells;
    mass += static_cast<i64>(blockIdx.x) * n_clusters;
    old += blockIdx.x * n_cells;
    centroids += blockIdx.x * n_cells;
    signals += blockIdx.x * 3;
    for (i64 cell = threadIdx.x; cell < n_cells; cell += 1024) {
        double weight = mass[cell / n_features];
        double before = old[cell];
        T mean = weight > 0.0 ? static_cast<T>(sums[cell] / weight) : old[cell];
        centroids[cell] = mean;
        double moved = static_cast<double>(mean) - before;
        of_thread[0] += moved * moved;
        of_thread[2] += before * (2.0 * sums[cell] - weight * before);
    }
    for (int cluster = threadIdx.x; cluster < n_clusters; cluster += 1024) {
        of_thread[1] += mass[cluster] > 0.0 ? 0.0 : 1.0;
    }
    for (int which = 0; which < 3; ++which) {
        double sum = warp_sum(of_thread[which]);
        if (threadIdx.x % 32 == 0) of_warp[which][threadIdx.x / 32] = sum;
    }
    __syncthreads();
    if (threadIdx.x < 3) {
        double total = 0.0;
        for (int warp = 0; warp < 32; ++warp) total += of_warp[threadIdx.x][warp];
        signals[threadIdx.x] = total;
    }
}
