// The kernels of for_cupy.py. Points are read as In, computed in T (float or double) and
// summed in double. Every sum is taken in an order that the launch alone decides: no
// floating-point atomics, so the same input gives the same bits.
//
// Row indices are 64-bit wherever n_points can exceed 2^31; within a tile of rows they are int.

typedef long long i64;

#define THREADS 256
#define FULL_MASK 0xffffffffu
#define INFINITE __int_as_float(0x7f800000)

struct Half { unsigned short bits; };
struct Bfloat16 { unsigned short bits; };

// No header for half precision: its place differs between CUDA installations.
template <typename T> __device__ __forceinline__ T loaded(float value) { return value; }
template <typename T> __device__ __forceinline__ T loaded(double value) { return value; }
template <typename T> __device__ __forceinline__ T loaded(Half value) {
    float wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(value.bits));
    return wide;
}
template <typename T> __device__ __forceinline__ T loaded(Bfloat16 value) {
    return __int_as_float(static_cast<int>(value.bits) << 16);
}

__device__ __forceinline__ double warp_sum(double value) {
    for (int step = 16; step > 0; step >>= 1) {
        value += __shfl_down_sync(FULL_MASK, value, step);
    }
    return value;
}

// The sum over a block of THREADS threads, in thread 0.
__device__ double block_sum(double value) {
    __shared__ double of_warp[THREADS / 32];
    value = warp_sum(value);
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
    __syncthreads();
    double total = 0.0;
    if (threadIdx.x == 0) {
        for (int warp = 0; warp < THREADS / 32; ++warp) total += of_warp[warp];
    }
    __syncthreads();
    return total;
}

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

// out[cell] = sum over parts of partials[part, cell]: a warp a cell, in a fixed order.
extern "C" __global__ void __launch_bounds__(THREADS)
merge_parts(const double* partials, i64 n_parts, i64 n_cells, double* out) {
    i64 cell = (static_cast<i64>(blockIdx.x) * THREADS + threadIdx.x) / 32;
    if (cell >= n_cells) return;
    double total = 0.0;
    for (i64 part = threadIdx.x % 32; part < n_parts; part += 32) {
        total += partials[part * n_cells + cell];
    }
    total = warp_sum(total);
    if (threadIdx.x % 32 == 0) out[cell] = total;
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

// The label of each row of a tile of scores, a warp a row; counted for each chunk of rows too
// if there is a histogram (n_clusters x n_chunks).
template <typename T>
__global__ void __launch_bounds__(THREADS)
least_score(const T* scores, const T* sq_norms, int n_rows, int n_clusters, int* labels,
            int* histogram, int rows_per_chunk, int n_chunks, int row_offset) {
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
        if (histogram) {
            int chunk = (row_offset + row) / rows_per_chunk;
            atomicAdd(&histogram[static_cast<i64>(label) * n_chunks + chunk], 1);
        }
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

// ---- distances by differences: assigned rows, and the candidates of k-means++ ----

// The squared distance of each row to centroid labels[row]; a warp a row.
template <typename In, typename T>
__global__ void __launch_bounds__(THREADS)
assigned_distances(const In* points, const T* origin, const int* labels, const T* centroids,
                   i64 n_points, int n_features, T* out) {
    i64 row = (static_cast<i64>(blockIdx.x) * THREADS + threadIdx.x) / 32;
    if (row >= n_points) return;
    const In* of_row = points + row * n_features;
    const T* centroid = centroids + static_cast<i64>(labels[row]) * n_features;
    T sum = 0;
    for (int feature = threadIdx.x % 32; feature < n_features; feature += 32) {
        T value = loaded<T>(of_row[feature]);
        T difference = (origin ? value - origin[feature] : value) - centroid[feature];
        sum += difference * difference;
    }
    for (int step = 16; step > 0; step >>= 1) sum += __shfl_down_sync(FULL_MASK, sum, step);
    if (threadIdx.x % 32 == 0) out[row] = sum;
}

// For L candidates at once: the weighted sum of min(closest, squared distance) over the rows of
// a block. Candidates lie in shared memory; a row's numbers are read once.
template <typename In, typename T, int L>
__global__ void __launch_bounds__(THREADS)
potentials(const In* points, const T* weights, const T* origin, const T* closest,
           const T* candidates, i64 n_points, int n_features, int n_candidates,
           i64 rows_per_block, double* partials) {
    extern __shared__ double shared[];
    T* own = reinterpret_cast<T*>(shared);  // L x n_features, zero past n_candidates
    for (int at = threadIdx.x; at < L * n_features; at += THREADS) {
        own[at] = at < n_candidates * n_features ? candidates[at] : T(0);
    }
    __syncthreads();
    double totals[L];
#pragma unroll
    for (int c = 0; c < L; ++c) totals[c] = 0.0;
    i64 begin = blockIdx.x * rows_per_block;
    i64 end = min(begin + rows_per_block, n_points);
    for (i64 row = begin + threadIdx.x; row < end; row += THREADS) {
        T distances[L];
#pragma unroll
        for (int c = 0; c < L; ++c) distances[c] = 0;
#pragma unroll 2  // more makes doubles spill registers
        for (int feature = 0; feature < n_features; ++feature) {
            T value = loaded<T>(points[row * n_features + feature]);
            if (origin) value -= origin[feature];
#pragma unroll
            for (int c = 0; c < L; ++c) {
                T difference = value - own[c * n_features + feature];
                distances[c] += difference * difference;
            }
        }
        double weight = weights ? weights[row] : 1.0;
        T so_far = closest[row];
#pragma unroll
        for (int c = 0; c < L; ++c) totals[c] += weight * min(distances[c], so_far);
    }
#pragma unroll
    for (int c = 0; c < L; ++c) {
        double total = block_sum(totals[c]);
        if (threadIdx.x == 0 && c < n_candidates) {
            partials[static_cast<i64>(blockIdx.x) * n_candidates + c] = total;
        }
    }
}

// min(closest, squared distance to the one candidate).
template <typename In, typename T>
__global__ void __launch_bounds__(THREADS)
fold_candidate(const In* points, const T* origin, const T* closest, const T* candidate,
               i64 n_points, int n_features, T* out) {
    i64 row = static_cast<i64>(blockIdx.x) * THREADS + threadIdx.x;
    if (row >= n_points) return;
    T distance = 0;
    for (int feature = 0; feature < n_features; ++feature) {
        T value = loaded<T>(points[row * n_features + feature]);
        if (origin) value -= origin[feature];
        T difference = value - candidate[feature];
        distance += difference * difference;
    }
    out[row] = min(distance, closest[row]);
}

// ---- random numbers of rows: Philox4x64-10 (Salmon et al., SC 2011), as NumPy makes them ----

// Word row % 4 of the block whose counter is (row / 4 + 1, stream, 0, 0): NumPy counts, then
// makes the block.
extern "C" __global__ void __launch_bounds__(THREADS)
philox_uniforms(i64 start, i64 n_points, unsigned long long key0, unsigned long long key1,
                unsigned long long stream, double* out) {
    i64 at = static_cast<i64>(blockIdx.x) * THREADS + threadIdx.x;
    if (at >= n_points) return;
    unsigned long long row = start + at;
    unsigned long long c0 = row / 4 + 1, c1 = stream, c2 = 0, c3 = 0;
    for (int round = 0; round < 10; ++round) {
        const unsigned long long m0 = 0xD2E7470EE14C6C93ull, m1 = 0xCA5A826395121157ull;
        unsigned long long high0 = __umul64hi(m0, c0), low0 = m0 * c0;
        unsigned long long high1 = __umul64hi(m1, c2), low1 = m1 * c2;
        c0 = high1 ^ c1 ^ key0;
        c1 = low1;
        c2 = high0 ^ c3 ^ key1;
        c3 = low0;
        key0 += 0x9E3779B97F4A7C15ull;
        key1 += 0xBB67AE8584CAA73Bull;
    }
    unsigned long long word = row % 4 == 0 ? c0 : row % 4 == 1 ? c1 : row % 4 == 2 ? c2 : c3;
    out[at] = static_cast<double>(word >> 11) * (1.0 / 9007199254740992.0);
}
