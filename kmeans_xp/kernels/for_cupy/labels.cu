// The nearest centroid of each row, and steps of one pass that add up rows at once.

#include "chain.cu"

// ---- few features: centroids in shared memory, one thread a row or two ----

// Rows of a thread: a number of a centroid that comes from shared memory is then multiplied twice.
// Longer rows would take too many registers, and too much shared memory.
template <typename T, int D> constexpr int OWN_ROWS = D * sizeof(T) <= 64 ? 2 : 1;
template <typename T, int D> constexpr int TILE_ROWS = THREADS * OWN_ROWS<T, D>;

// What a block keeps in shared memory. A row of the tile takes D + 1 numbers, an odd number of
// banks: the threads of a warp, a row each, then read without conflicts.
template <typename T> struct Few {
    T* minus_two;    // -2 c of each centroid, padded with zeros to D numbers; 16 bytes are a load
    double* totals;  // of each group of threads, where there are any: the sums, then the masses
    T* tile;         // rows less the origin
    T* sq_norms;     // |c|^2
    T* end;
};

template <typename T, int D>
__device__ __forceinline__ Few<T> few_of(void* shared, int n_clusters, int n_totals) {
    Few<T> few;
    few.minus_two = static_cast<T*>(shared);
    few.totals = reinterpret_cast<double*>(few.minus_two + n_clusters * D);
    few.tile = reinterpret_cast<T*>(few.totals + n_totals);
    few.sq_norms = few.tile + TILE_ROWS<T, D> * (D + 1);
    few.end = few.sq_norms + n_clusters;
    return few;
}

template <typename T, int D>
__device__ __forceinline__ void load_centroids(const T* centroids, int n_clusters, int n_features,
                                               const Few<T>& few) {
    for (int cell = threadIdx.x; cell < n_clusters * D; cell += THREADS) {
        int feature = cell % D;
        T value = feature < n_features ? centroids[cell / D * n_features + feature] : T(0);
        few.minus_two[cell] = minus_twice(value);
    }
    for (int cluster = threadIdx.x; cluster < n_clusters; cluster += THREADS) {
        few.sq_norms[cluster] = sq_norm_of(centroids + cluster * n_features, n_features);
    }
}

template <typename In, typename T, int D>
__device__ __forceinline__ void load_rows(const In* points, const T* origin, i64 first, int n_rows,
                                          int n_features, T* tile) {
    const In* from = points + first * n_features;
    for (int at = threadIdx.x; at < n_rows * n_features; at += THREADS) {
        int row = at / n_features;
        int feature = at - row * n_features;
        T value = loaded<T>(from[at]);
        tile[row * (D + 1) + feature] = origin ? less(value, origin[feature]) : value;
    }
}

// Of every THREADS-th row of the tile, from the thread's own on. Strictly less: a tie stays with
// the lower index.
template <typename T, int D>
__device__ __forceinline__ void find_nearest(const Few<T>& few, int n_features, int n_clusters,
                                             int (&label)[OWN_ROWS<T, D>]) {
    constexpr int R = OWN_ROWS<T, D>, PACK = D < PACK_OF<T> ? D : PACK_OF<T>;
    T x[R][D], best[R];
#pragma unroll
    for (int r = 0; r < R; ++r) {
        const T* row = few.tile + (threadIdx.x + r * THREADS) * (D + 1);
#pragma unroll
        for (int feature = 0; feature < D; ++feature) {
            x[r][feature] = feature < n_features ? row[feature] : T(0);
        }
        best[r] = INFINITE;
        label[r] = 0;
    }
    for (int cluster = 0; cluster < n_clusters; ++cluster) {
        T score[R];
#pragma unroll
        for (int r = 0; r < R; ++r) score[r] = few.sq_norms[cluster];
#pragma unroll
        for (int at = 0; at < D; at += PACK) {
            auto pack = *reinterpret_cast<const Pack<T, PACK>*>(
                &few.minus_two[cluster * D + at]);
#pragma unroll
            for (int i = 0; i < PACK; ++i) {
#pragma unroll
                for (int r = 0; r < R; ++r) score[r] = fused(x[r][at + i], pack.at[i], score[r]);
            }
        }
#pragma unroll
        for (int r = 0; r < R; ++r) {
            if (is_less(score[r], best[r])) {
                best[r] = score[r];
                label[r] = cluster;
            }
        }
    }
}

// Calls take(first, n_rows, label) with each tile of a block's rows, which is then in shared
// memory, and the labels that belong to the thread.
template <typename In, typename T, int D, typename Take>
__device__ __forceinline__ void for_labelled_tiles(const In* points, const T* origin,
                                                   const T* centroids, i64 first_row,
                                                   i64 n_points, int n_features,
                                                   int n_clusters, i64 rows_per_block,
                                                   const Few<T>& few, Take take) {
    constexpr int ROWS = TILE_ROWS<T, D>;
    load_centroids<T, D>(centroids, n_clusters, n_features, few);
    i64 begin = first_row + blockIdx.x * rows_per_block;
    i64 end = min(begin + rows_per_block, first_row + n_points);
    for (i64 first = begin; first < end; first += ROWS) {
        int n_rows = static_cast<int>(min(end - first, static_cast<i64>(ROWS)));
        __syncthreads();
        load_rows<In, T, D>(points, origin, first, n_rows, n_features, few.tile);
        __syncthreads();
        int label[OWN_ROWS<T, D>];
        find_nearest<T, D>(few, n_features, n_clusters, label);
        take(first, n_rows, label);
    }
}

// Blocks of a multiprocessor. The compiler's own choice spills on some architectures; 0 says nothing.
template <typename T, int D>
constexpr int LEAST_BLOCKS = sizeof(T) == 4 ? (D <= 16 ? 3 : 0) : (D < 64 ? 2 : 1);
template <typename T, int D>
constexpr int LABEL_BLOCKS = sizeof(T) == 4 && D == 16 ? 2 : LEAST_BLOCKS<T, D>;

template <typename In, typename T, int D>
__global__ void __launch_bounds__(THREADS, LABEL_BLOCKS<T, D>)
few_labels(const In* points, const T* origin, const int* problems, const T* centroids,
           i64 n_points, int n_features, int n_clusters, i64 rows_per_block, int* labels, STOP) {
    if (has_stopped(before, most_shift, blockIdx.y)) return;
    extern __shared__ uint4 shared[];
    i64 first_row = first_row_of(problems, blockIdx.y, n_points, n_features, origin);
    centroids += blockIdx.y * static_cast<i64>(n_clusters) * n_features;
    // Not in registers, of which some architectures would spill others.
    __shared__ int* labels_of_rows;
    if (threadIdx.x == 0) labels_of_rows = labels + (blockIdx.y * n_points - first_row);
    const Few<T> few = few_of<T, D>(shared, n_clusters, 0);
    for_labelled_tiles<In, T, D>(
        points, origin, centroids, first_row, n_points, n_features, n_clusters, rows_per_block,
        few, [&](i64 first, int n_rows, const int (&label)[OWN_ROWS<T, D>]) {
#pragma unroll
            for (int r = 0; r < OWN_ROWS<T, D>; ++r) {
                int row = threadIdx.x + r * THREADS;
                if (row < n_rows) labels_of_rows[first + row] = label[r];
            }
        });
}

// One pass of Lloyd: assignment, and sums into accumulators that belong to groups of threads.
// A group owns every n_groups-th row of a tile, and each of its threads one feature of them.
// The second dimension of the grid goes over runs: centroids of their own, their problem's rows.
template <typename In, typename T, int D>
__global__ void __launch_bounds__(THREADS, LEAST_BLOCKS<T, D>)
few_step(const In* points, const T* weights, const T* origin, const int* problems,
         const T* centroids, i64 n_points, int n_features, int n_clusters, i64 rows_per_block,
         int n_groups, double* partials, STOP) {
    if (has_stopped(before, most_shift, blockIdx.y)) return;
    extern __shared__ uint4 shared[];
    i64 first_row = first_row_of(problems, blockIdx.y, n_points, n_features, origin);
    int n_sums = n_clusters * n_features;
    int n_cells = n_sums + n_clusters;  // the sums, then the masses
    centroids += static_cast<i64>(blockIdx.y) * n_sums;
    const Few<T> few = few_of<T, D>(shared, n_clusters, n_groups * n_cells);
    double* totals = few.totals;
    T* weight_of = few.end;
    int* label_of = reinterpret_cast<int*>(weight_of + TILE_ROWS<T, D>);
    for (int cell = threadIdx.x; cell < n_groups * n_cells; cell += THREADS) totals[cell] = 0.0;

    int group = threadIdx.x / n_features;
    int feature = threadIdx.x - group * n_features;
    double* own = totals + group * n_cells;
    for_labelled_tiles<In, T, D>(
        points, origin, centroids, first_row, n_points, n_features, n_clusters, rows_per_block,
        few, [&](i64 first, int n_rows, const int (&label)[OWN_ROWS<T, D>]) {
#pragma unroll
            for (int r = 0; r < OWN_ROWS<T, D>; ++r) {
                int row = threadIdx.x + r * THREADS;
                if (row < n_rows) {
                    label_of[row] = label[r];
                    weight_of[row] = weights ? weights[first + row] : T(1);
                }
            }
            __syncthreads();
            if (group >= n_groups) return;
            for (int row = group; row < n_rows; row += n_groups) {
                int cluster = label_of[row];
                double weight = weight_of[row];
                own[cluster * n_features + feature] += weight * few.tile[row * (D + 1) + feature];
                if (feature == 0) own[n_sums + cluster] += weight;
            }
        });
    __syncthreads();
    // The sums of all runs, then the masses of all.
    double* of_block = partials + static_cast<i64>(blockIdx.x) * gridDim.y * n_cells;
    double* sums = of_block + static_cast<i64>(blockIdx.y) * n_sums;
    double* mass = of_block + static_cast<i64>(gridDim.y) * n_sums + blockIdx.y * n_clusters;
    for (int cell = threadIdx.x; cell < n_cells; cell += THREADS) {
        double total = 0.0;
        for (int other = 0; other < n_groups; ++other) total += totals[other * n_cells + cell];
        if (cell < n_sums) sums[cell] = total; else mass[cell - n_sums] = total;
    }
}

// ---- many features: tiles of rows and centroids in shared memory, least scores in registers ----

template <typename T>
__global__ void __launch_bounds__(THREADS)
centroid_norms(const T* centroids, int n_features, int n_clusters, T* sq_norms, STOP) {
    if (has_stopped(before, most_shift, blockIdx.y)) return;
    int cluster = blockIdx.x * THREADS + threadIdx.x;
    if (cluster >= n_clusters) return;
    i64 of_all = static_cast<i64>(blockIdx.y) * n_clusters + cluster;
    sq_norms[of_all] = sq_norm_of(centroids + of_all * n_features, n_features);
}

template <typename T> constexpr int AT_ONCE = 8 / sizeof(T);  // blocks of a multiprocessor

// 128 rows a block, and as many centroids (of double: half) at a time. The second dimension of the
// grid goes over runs.
template <typename In, typename T>
__global__ void __launch_bounds__(THREADS, AT_ONCE<T>)
exact_labels(const In* points, const T* origin, const int* problems, const T* centroids,
             const T* sq_norms, i64 n_points, int n_features, int n_clusters, int* labels, STOP) {
    if (has_stopped(before, most_shift, blockIdx.y)) return;
    constexpr int ROWS = 128;
    __shared__ ChainTile<T, ROWS> tile;
    i64 first = static_cast<i64>(blockIdx.x) * ROWS;
    int n_rows = static_cast<int>(min(n_points - first, static_cast<i64>(ROWS)));
    if (threadIdx.x < ROWS) tile.row_at[threadIdx.x] = first + min(int(threadIdx.x), n_rows - 1);
    const Choice<In, T> given = choice_of<In, T>(
        blockIdx.y, n_points, problems,
        {points, origin, centroids, sq_norms, n_features, n_clusters});
    label_by_chain<In, T, ROWS, THREADS, 16>(given, tile, n_rows, labels + blockIdx.y * n_points);
}
