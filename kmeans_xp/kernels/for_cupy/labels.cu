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
        minus_two[cell] = minus_twice(value);
    }
    for (int cluster = threadIdx.x; cluster < n_clusters; cluster += THREADS) {
        sq_norms[cluster] = sq_norm_of(centroids + cluster * n_features, n_features);
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
        tile[row * (D + 1) + feature] = origin ? less(value, origin[feature]) : value;
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
            score = fused(x[feature], minus_two[cluster * D + feature], score);
        }
        if (is_less(score, best)) {
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

// Without a least number of blocks the compiler spills a double on sm_120; 0 says nothing.
template <typename T> constexpr int LEAST_BLOCKS = sizeof(T) / 8;

// One pass of Lloyd: assignment, and sums into accumulators that belong to groups of threads.
// A group owns every n_groups-th row of a tile, and each of its threads one feature of them.
// The second dimension of the grid goes over restarts: centroids of their own, the same rows.
template <typename In, typename T, int D>
__global__ void __launch_bounds__(THREADS, LEAST_BLOCKS<T>)
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

// ---- many features: tiles of rows and centroids in shared memory, least scores in registers ----

template <typename T>
__global__ void __launch_bounds__(THREADS)
centroid_norms(const T* centroids, int n_features, int n_clusters, T* sq_norms) {
    int cluster = blockIdx.x * THREADS + threadIdx.x;
    if (cluster >= n_clusters) return;
    i64 first = static_cast<i64>(cluster) * n_features;
    sq_norms[cluster] = sq_norm_of(centroids + first, n_features);
}

template <typename T> constexpr int AT_ONCE = 8 / sizeof(T);  // blocks of a multiprocessor
template <typename T, int N> struct alignas(N * sizeof(T)) Pack { T at[N]; };

// Labels of all rows, or of those listed, whose number is known to the device alone. ROWS rows
// and 128 (double: 64) centroids at a time; a thread has ROWS / 16 rows and every 16th pack of
// centroids.
template <typename In, typename T, int ROWS>
__global__ void __launch_bounds__(THREADS, AT_ONCE<T>)
exact_labels(const In* points, const T* origin, const T* centroids, const T* sq_norms,
             i64 n_points, int n_features, int n_clusters, const int* listed,
             const int* n_listed, int* labels) {
    constexpr int DEPTH = 16, PACK = 16 / sizeof(T);
    constexpr int OWN_ROWS = ROWS / 16, OWN_COLUMNS = 2 * PACK, COLUMNS = 16 * OWN_COLUMNS;
    constexpr int ROW_PACK = OWN_ROWS < PACK ? OWN_ROWS : PACK;
    // A pack of padding: two threads that write a column of 16 features meet in a bank, not 16.
    __shared__ alignas(16) T of_rows[DEPTH][ROWS + PACK];
    __shared__ alignas(16) T of_centroids[DEPTH][COLUMNS + PACK];
    __shared__ i64 row_at[ROWS];  // of the points
    int column = threadIdx.x % 16, line = threadIdx.x / 16;
    i64 n_rows = listed ? *n_listed : n_points;
    for (i64 first = static_cast<i64>(blockIdx.x) * ROWS; first < n_rows;
         first += static_cast<i64>(gridDim.x) * ROWS) {
        __syncthreads();
        if (threadIdx.x < ROWS) {
            i64 row = min(first + threadIdx.x, n_rows - 1);
            row_at[threadIdx.x] = listed ? listed[row] : row;
        }
        T best[OWN_ROWS];
        int label[OWN_ROWS];
#pragma unroll
        for (int r = 0; r < OWN_ROWS; ++r) {
            best[r] = INFINITE;
            label[r] = n_clusters;
        }
        for (int start = 0; start < n_clusters; start += COLUMNS) {
            T score[OWN_ROWS][OWN_COLUMNS];
#pragma unroll
            for (int c = 0; c < OWN_COLUMNS; ++c) {
                int cluster = start + (c / PACK * 16 + column) * PACK + c % PACK;
                // What is not there stays infinite, and is never less.
                T sq_norm = cluster < n_clusters ? sq_norms[cluster] : T(INFINITE);
#pragma unroll
                for (int r = 0; r < OWN_ROWS; ++r) score[r][c] = sq_norm;
            }
            for (int depth = 0; depth < n_features; depth += DEPTH) {
                int feature = depth + column;
                bool is_there = feature < n_features;
                T shift = origin && is_there ? origin[feature] : T(0);
                __syncthreads();
#pragma unroll
                for (int r = 0; r < OWN_ROWS; ++r) {
                    i64 at = row_at[line + 16 * r] * n_features + feature;
                    T value = is_there ? loaded<T>(points[at]) : T(0);
                    of_rows[column][line + 16 * r] = origin ? less(value, shift) : value;
                }
#pragma unroll
                for (int c = 0; c < OWN_COLUMNS; ++c) {
                    int cluster = start + line + 16 * c;
                    T value = T(0);
                    if (is_there && cluster < n_clusters) {
                        value = centroids[static_cast<i64>(cluster) * n_features + feature];
                    }
                    of_centroids[column][line + 16 * c] = minus_twice(value);
                }
                __syncthreads();
#pragma unroll
                for (int f = 0; f < DEPTH; ++f) {
                    T x[OWN_ROWS], c[OWN_COLUMNS];
#pragma unroll
                    for (int at = 0; at < OWN_ROWS; at += ROW_PACK) {
                        auto pack = *reinterpret_cast<const Pack<T, ROW_PACK>*>(
                            &of_rows[f][line * OWN_ROWS + at]);
#pragma unroll
                        for (int i = 0; i < ROW_PACK; ++i) x[at + i] = pack.at[i];
                    }
#pragma unroll
                    for (int at = 0; at < OWN_COLUMNS; at += PACK) {
                        auto pack = *reinterpret_cast<const Pack<T, PACK>*>(
                            &of_centroids[f][at * 16 + column * PACK]);
#pragma unroll
                        for (int i = 0; i < PACK; ++i) c[at + i] = pack.at[i];
                    }
#pragma unroll
                    for (int r = 0; r < OWN_ROWS; ++r) {
#pragma unroll
                        for (int i = 0; i < OWN_COLUMNS; ++i) {
                            score[r][i] = fused(x[r], c[i], score[r][i]);
                        }
                    }
                }
            }
#pragma unroll
            for (int c = 0; c < OWN_COLUMNS; ++c) {
                int cluster = start + (c / PACK * 16 + column) * PACK + c % PACK;
#pragma unroll
                for (int r = 0; r < OWN_ROWS; ++r) {
                    // A thread's clusters come in order: a tie stays with the lower index.
                    if (is_less(score[r][c], best[r])) {
                        best[r] = score[r][c];
                        label[r] = cluster;
                    }
                }
            }
        }
#pragma unroll
        for (int r = 0; r < OWN_ROWS; ++r) {
            for (int step = 8; step > 0; step >>= 1) {
                T other = __shfl_xor_sync(FULL_MASK, best[r], step);
                int other_label = __shfl_xor_sync(FULL_MASK, label[r], step);
                bool is_tied = !is_less(best[r], other) && other_label < label[r];
                if (is_less(other, best[r]) || is_tied) {
                    best[r] = other;
                    label[r] = other_label;
                }
            }
            if (column == 0 && first + line * OWN_ROWS + r < n_rows) {
                // None is less than infinite: the first.
                labels[row_at[line * OWN_ROWS + r]] = label[r] == n_clusters ? 0 : label[r];
            }
        }
    }
}
