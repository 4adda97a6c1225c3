// The chain of many features: tiles of rows and of centroids pass through shared memory, and the
// least score of each row stays in registers.

#include "common.cu"

#define INFINITE __int_as_float(0x7f800000)

template <typename T, int N> struct alignas(N * sizeof(T)) Pack { T at[N]; };

template <typename T> constexpr int PACK_OF = 16 / sizeof(T);
template <typename T> constexpr int COLUMNS_OF = 32 * PACK_OF<T>;  // centroids at a time

// 16 features of some rows, and of the centroids to compare them with. With a pack of padding, only
// two threads that write a column of 16 features meet in a bank, not 16.
template <typename T, int ROWS> struct ChainTile {
    alignas(16) T of_rows[16][ROWS + PACK_OF<T>];
    alignas(16) T of_centroids[16][COLUMNS_OF<T> + PACK_OF<T>];
    i64 row_at[ROWS];  // of the points; written by whoever asks for labels
};

// Rows, and the centroids to choose from.
template <typename In, typename T> struct Choice {
    const In* points;
    const T* origin;
    const T* centroids;
    const T* sq_norms;
    int n_features, n_clusters;
};

// The rows of a run and its centroids; those of all runs lie one after another.
template <typename In, typename T>
__device__ __forceinline__ Choice<In, T> choice_of(int run, i64 n_points, const int* problems,
                                                   Choice<In, T> given) {
    i64 first_row = first_row_of(problems, run, n_points, given.n_features, given.origin);
    i64 first_cluster = static_cast<i64>(run) * given.n_clusters;
    given.points += first_row * given.n_features;
    given.centroids += first_cluster * given.n_features;
    given.sq_norms += first_cluster;
    return given;
}

// Labels of the first n_rows rows of a tile, by a block of N threads. ACROSS threads lie across
// the centroids, of which each has every ACROSS-th pack, and the others across the rows.
template <typename In, typename T, int ROWS, int N, int ACROSS>
__device__ __forceinline__ void label_by_chain(const Choice<In, T>& given,
                                               ChainTile<T, ROWS>& tile, int n_rows,
                                               int* labels) {
    constexpr int DEPTH = 16, LINES = N / DEPTH, PACK = PACK_OF<T>, COLUMNS = COLUMNS_OF<T>;
    constexpr int OWN_ROWS = ROWS * ACROSS / N, OWN_COLUMNS = COLUMNS / ACROSS;
    constexpr int ROW_PACK = OWN_ROWS < PACK ? OWN_ROWS : PACK;
    int column = threadIdx.x % ACROSS, line = threadIdx.x / ACROSS;
    int of_depth = threadIdx.x % DEPTH, loading = threadIdx.x / DEPTH;
    T best[OWN_ROWS];
    int label[OWN_ROWS];
#pragma unroll
    for (int r = 0; r < OWN_ROWS; ++r) {
        best[r] = INFINITE;
        label[r] = given.n_clusters;
    }
    for (int start = 0; start < given.n_clusters; start += COLUMNS) {
        T score[OWN_ROWS][OWN_COLUMNS];
#pragma unroll
        for (int c = 0; c < OWN_COLUMNS; ++c) {
            int cluster = start + (c / PACK * ACROSS + column) * PACK + c % PACK;
            // What is not there stays infinite, and is never less.
            T sq_norm = cluster < given.n_clusters ? given.sq_norms[cluster] : T(INFINITE);
#pragma unroll
            for (int r = 0; r < OWN_ROWS; ++r) score[r][c] = sq_norm;
        }
        for (int depth = 0; depth < given.n_features; depth += DEPTH) {
            int feature = depth + of_depth;
            bool is_there = feature < given.n_features;
            T shift = given.origin && is_there ? given.origin[feature] : T(0);
            __syncthreads();
#pragma unroll 4  // more makes floats spill registers
            for (int r = 0; r < ROWS / LINES; ++r) {
                int row = loading + r * LINES;
                i64 at = tile.row_at[row] * given.n_features + feature;
                T value = is_there ? loaded<T>(given.points[at]) : T(0);
                tile.of_rows[of_depth][row] = given.origin ? less(value, shift) : value;
            }
#pragma unroll 4
            for (int c = 0; c < COLUMNS / LINES; ++c) {
                int place = loading + c * LINES, cluster = start + place;
                T value = T(0);
                if (is_there && cluster < given.n_clusters) {
                    value = given.centroids[static_cast<i64>(cluster) * given.n_features + feature];
                }
                tile.of_centroids[of_depth][place] = minus_twice(value);
            }
            __syncthreads();
#pragma unroll 4
            for (int f = 0; f < DEPTH; ++f) {
                T x[OWN_ROWS], c[OWN_COLUMNS];
#pragma unroll
                for (int at = 0; at < OWN_ROWS; at += ROW_PACK) {
                    auto pack = *reinterpret_cast<const Pack<T, ROW_PACK>*>(
                        &tile.of_rows[f][line * OWN_ROWS + at]);
#pragma unroll
                    for (int i = 0; i < ROW_PACK; ++i) x[at + i] = pack.at[i];
                }
#pragma unroll
                for (int at = 0; at < OWN_COLUMNS; at += PACK) {
                    auto pack = *reinterpret_cast<const Pack<T, PACK>*>(
                        &tile.of_centroids[f][at * ACROSS + column * PACK]);
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
            int cluster = start + (c / PACK * ACROSS + column) * PACK + c % PACK;
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
        for (int step = ACROSS / 2; step > 0; step >>= 1) {
            T other = __shfl_xor_sync(FULL_MASK, best[r], step);
            int other_label = __shfl_xor_sync(FULL_MASK, label[r], step);
            bool is_tied = !is_less(best[r], other) && other_label < label[r];
            if (is_less(other, best[r]) || is_tied) {
                best[r] = other;
                label[r] = other_label;
            }
        }
        int row = line * OWN_ROWS + r;
        // None is less than infinite: the first.
        if (column == 0 && row < n_rows) {
            labels[tile.row_at[row]] = label[r] == given.n_clusters ? 0 : label[r];
        }
    }
}
