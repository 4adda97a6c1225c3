// The nearest centroid of each row, and steps of one pass that add up rows at once.

#define INFINITE __int_as_float(0x7f800000)

// ---- few features: centroids in shared memory, one thread a row ----

// -2 c and |c|^2 of each centroid, each row padded with zeros to D numbers.
template <typename T, int D>
__device__ void load_centroids(const T* centroids, int n_clusters, int n_features, T* minus_two,
                               T* sq_norms) {
    for (int cell = threadIdx.x; cell < n_clusters * D; cell += THREADS) {
        int feature = cell % D;
        T value = feature < n_features ? centroids[cell / D * n_features + feature] : T(0);
        minus_two[cell] = T(-2) * value;
    }
    for (int cluster = threadIdx.x; cluster < n_clusters; cluster += THREADS) {
        T sum = 0;
        for (int feature = 0; feature < n_features; ++feature) {
            T value = centroids[cluster * n_features + feature];
            sum += value * value;
        }
        sq_norms[cluster] = sum;
    }
}

// Up to THREADS rows less the origin, in shared memory with a stride of D + 1 (an odd number of
// banks: the threads of a warp, a row each, then read without conflicts).
template <typename In, typename T, int D>
__device__ void load_rows(const In* points, const T* origin, i64 first, int n_rows,
                          int n_features, T* tile) {
    const In* from = points + first * n_features;
    for (int at = threadIdx.x; at < n_rows * n_features; at += THREADS) {
        int row = at / n_features;
        int feature = at - row * n_features;
        T value = loaded<T>(from[at]);
        tile[row * (D + 1) + feature] = origin ? value - origin[feature] : value;
    }
}

// Strictly less: a tie stays with the lower index.
template <typename T, int D>
__device__ __forceinline__ int nearest(const T* row, int n_features, const T* minus_two,
                                       const T* sq_norms, int n_clusters) {
    T x[D];
#pragma unroll
    for (int feature = 0; feature < D; ++feature) {
        x[feature] = feature < n_features ? row[feature] : T(0);
    }
    T best = INFINITE;
    int label = 0;
    for (int cluster = 0; cluster < n_clusters; ++cluster) {
        T score = sq_norms[cluster];
#pragma unroll
        for (int feature = 0; feature < D; ++feature) {
            score += x[feature] * minus_two[cluster * D + feature];
        }
        if (score < best) {
            best = score;
            label = cluster;
        }
    }
    return label;
}

template <typename In, typename T, int D>
__global__ void __launch_bounds__(THREADS)
few_labels(const In* points, const T* origin, const T* centroids, i64 n_points, int n_features,
           int n_clusters, i64 rows_per_block, int* labels) {
    extern __shared__ double shared[];
    T* tile = reinterpret_cast<T*>(shared);
    T* minus_two = tile + THREADS * (D + 1);
    T* sq_norms = minus_two + n_clusters * D;
    load_centroids<T, D>(centroids, n_clusters, n_features, minus_two, sq_norms);
    i64 begin = blockIdx.x * rows_per_block;
    i64 end = min(begin + rows_per_block, n_points);
    for (i64 first = begin; first < end; first += THREADS) {
        int n_rows = static_cast<int>(min(end - first, static_cast<i64>(THREADS)));
        __syncthreads();
        load_rows<In, T, D>(points, origin, first, n_rows, n_features, tile);
        __syncthreads();
        if (threadIdx.x < n_rows) {
            labels[first + threadIdx.x] = nearest<T, D>(tile + threadIdx.x * (D + 1), n_features,
                                                        minus_two, sq_norms, n_clusters);
        }
    }
}

// One pass of Lloyd: assignment, and sums into accumulators that belong to groups of threads.
// A group owns every n_groups-th row of a tile, and each of its threads one feature of them.
// The second dimension of the grid goes over restarts: centroids of their own, the same rows.
template <typename In, typename T, int D>
__global__ void __launch_bounds__(THREADS)
few_step(const In* points, const T* weights, const T* origin, const T* centroids, i64 n_points,
         int n_features, int n_clusters, i64 rows_per_block, int n_groups, double* partials) {
    extern __shared__ double shared[];
    int n_sums = n_clusters * n_features;
    int n_cells = n_sums + n_clusters;  // the sums, then the masses
    centroids += static_cast<i64>(blockIdx.y) * n_sums;
    double* totals = shared;
    T* tile = reinterpret_cast<T*>(totals + n_groups * n_cells);
    T* minus_two = tile + THREADS * (D + 1);
    T* sq_norms = minus_two + n_clusters * D;
    T* weight_of = sq_norms + n_clusters;
    int* label_of = reinterpret_cast<int*>(weight_of + THREADS);
    load_centroids<T, D>(centroids, n_clusters, n_features, minus_two, sq_norms);
    for (int cell = threadIdx.x; cell < n_groups * n_cells; cell += THREADS) totals[cell] = 0.0;

    int group = threadIdx.x / n_features;
    int feature = threadIdx.x - group * n_features;
    double* own = totals + group * n_cells;
    i64 begin = blockIdx.x * rows_per_block;
    i64 end = min(begin + rows_per_block, n_points);
    for (i64 first = begin; first < end; first += THREADS) {
        int n_rows = static_cast<int>(min(end - first, static_cast<i64>(THREADS)));
        __syncthreads();
        load_rows<In, T, D>(points, origin, first, n_rows, n_features, tile);
        __syncthreads();
        if (threadIdx.x < n_rows) {
            label_of[threadIdx.x] = nearest<T, D>(tile + threadIdx.x * (D + 1), n_features,
                                                  minus_two, sq_norms, n_clusters);
            weight_of[threadIdx.x] = weights ? weights[first + threadIdx.x] : T(1);
        }
        __syncthreads();
        if (group < n_groups) {
            for (int row = group; row < n_rows; row += n_groups) {
                int label = label_of[row];
                double weight = weight_of[row];
                own[label * n_features + feature] += weight * tile[row * (D + 1) + feature];
                if (feature == 0) own[n_sums + label] += weight;
            }
        }
    }
    __syncthreads();
    // The sums of all restarts, then the masses of all.
    double* of_block = partials + static_cast<i64>(blockIdx.x) * gridDim.y * n_cells;
    double* sums = of_block + static_cast<i64>(blockIdx.y) * n_sums;
    double* mass = of_block + static_cast<i64>(gridDim.y) * n_sums + blockIdx.y * n_clusters;
    for (int cell = threadIdx.x; cell < n_cells; cell += THREADS) {
        double total = 0.0;
        for (int other = 0; other < n_groups; ++other) total += totals[other * n_cells + cell];
        if (cell < n_sums) sums[cell] = total; else mass[cell - n_sums] = total;
    }
}

// ---- many features: scores by cuBLAS, then the least of each row of scores ----

// -2 c and |c|^2 of each centroid; a block a centroid.
template <typename T>
__global__ void __launch_bounds__(THREADS)
prepare_centroids(const T* centroids, int n_features, T* minus_two, T* sq_norms) {
    i64 first = static_cast<i64>(blockIdx.x) * n_features;
    double sum = 0.0;
    for (int feature = threadIdx.x; feature < n_features; feature += THREADS) {
        T value = centroids[first + feature];
        minus_two[first + feature] = T(-2) * value;
        sum += static_cast<double>(value) * value;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) sq_norms[blockIdx.x] = static_cast<T>(sum);
}

// The label of each row of a tile of scores, a warp a row.
template <typename T>
__global__ void __launch_bounds__(THREADS)
least_score(const T* scores, const T* sq_norms, int n_rows, int n_clusters, int* labels) {
    int row = blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
    if (row >= n_rows) return;
    int lane = threadIdx.x % 32;
    const T* of_row = scores + static_cast<i64>(row) * n_clusters;
    T best = INFINITE;
    int label = n_clusters;
    for (int cluster = lane; cluster < n_clusters; cluster += 32) {
        T score = of_row[cluster] + sq_norms[cluster];
        if (score < best) {
            best = score;
            label = cluster;
        }
    }
    for (int step = 16; step > 0; step >>= 1) {
        T other = __shfl_down_sync(FULL_MASK, best, step);
        int other_label = __shfl_down_sync(FULL_MASK, label, step);
        if (other < best || (other == best && other_label < label)) {
            best = other;
            label = other_label;
        }
    }
    if (lane == 0) {
        if (label == n_clusters) label = 0;  // every score was infinite
        labels[row] = label;
    }
}
