// Labels by tensor cores of rows of more than 128 features: tiles of rows and of centroids pass by.

#include "proofs.cu"

#define WIDE_ROWS 128  // of a tile

// Subtracts the origin from the rows of a tile, and rounds them to half precision. Each row has its
// own scale, and is padded with zeros to `depth` numbers. Also writes what is known of each row,
// and its scale over that of the centroids. A warp takes four rows at a time: one wait then covers
// as many loads as the bus can bring.
template <typename In>
__device__ __forceinline__ void halve_rows(const In* points, const float* origin, int n_rows,
                                           int n_features, int depth, int of_centroids,
                                           const Limits& all, half_bits* halves, Row* known,
                                           float* ratios) {
    constexpr int AT_ONCE = 4;
    int lane = threadIdx.x % 32;
    for (int row = threadIdx.x / 32 * AT_ONCE; row < WIDE_ROWS; row += THREADS / 32 * AT_ONCE) {
        auto value_at = [&](int r, int feature) {
            if (feature >= n_features) return 0.0f;
            i64 at = min(row + r, n_rows - 1);  // the last one again where there is none
            float value = loaded<float>(points[at * n_features + feature]);
            return origin ? less(value, origin[feature]) : value;
        };
        float most[AT_ONCE] = {}, sq[AT_ONCE] = {}, sq_lost[AT_ONCE] = {};
#pragma unroll 4
        for (int feature = lane; feature < n_features; feature += 32) {
#pragma unroll
            for (int r = 0; r < AT_ONCE; ++r) {
                most[r] = fmaxf(most[r], finite_size(value_at(r, feature)));
            }
        }
        int exponent[AT_ONCE];
#pragma unroll
        for (int r = 0; r < AT_ONCE; ++r) {
            exponent[r] = exponent_of_rows(warp_max(most[r]), of_centroids);
        }
        for (int feature = lane; feature < depth; feature += 32) {
#pragma unroll
            for (int r = 0; r < AT_ONCE; ++r) {
                float value = value_at(r, feature) * power_of_two(14 - exponent[r]);
                half_bits half = to_half(value);
                float rounded = of_half(half), lost = value - rounded;
                halves[static_cast<i64>(row + r) * depth + feature] = half;
                sq[r] = fmaf(rounded, rounded, sq[r]);
                sq_lost[r] = fmaf(lost, lost, sq_lost[r]);
            }
        }
#pragma unroll
        for (int r = 0; r < AT_ONCE; ++r) {
            for (int step = 16; step > 0; step >>= 1) {
                sq[r] += __shfl_xor_sync(FULL_MASK, sq[r], step);
                sq_lost[r] += __shfl_xor_sync(FULL_MASK, sq_lost[r], step);
            }
            if (lane == 0) {
                float scale = power_of_two(14 - exponent[r]);
                float of_all = power_of_two(14 - of_centroids);
                known[row + r] = row_of(sq[r], sq_lost[r], scale, of_all, depth, all);
                ratios[row + r] = power_of_two(of_centroids - exponent[r]);
            }
        }
    }
}

// 128 rows against all centroids, 128 at a time, of which 64 features at a time are in shared
// memory: fetched while those before them are multiplied. A warp has 64 rows and 32 centroids.
// A block takes one tile of rows after another, of any run, and keeps its halves in `rows`: in the
// second cache, which a block for each multiprocessor leaves room in.
template <typename In>
__global__ void __launch_bounds__(THREADS, 1)
certified_wide_labels(const In* points, const float* origin, const int* problems,
                      const float* centroids, const float* sq_norms, i64 n_points, int n_features,
                      int n_clusters, int depth, int n_runs, half_bits* rows,
                      const half_bits* halves, const float* biases, const float* limits,
                      int n_parts, int n_padded, int* labels, int* listed, int* counters, STOP) {
    constexpr int ROWS = WIDE_ROWS, COLUMNS = 128, DEPTH = 64, STAGES = 2;
    constexpr int STRIDE = DEPTH + 8;  // 16 bytes more: ldmatrix then meets no bank twice
    constexpr int TILE = (ROWS + COLUMNS) * STRIDE, PACKS = DEPTH / 8;
    extern __shared__ uint4 dynamic[];
    half_bits* shared = reinterpret_cast<half_bits*>(dynamic);
    __shared__ Row known[ROWS];
    __shared__ float ratio_of[ROWS];
    __shared__ Nearest nearest[COLUMNS / 32][ROWS];
    __shared__ Unproven<ROWS> unproven;
    __shared__ Limits of_all;
    __shared__ int next;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int own_rows = warp / 4 * 64, own_columns = warp % 4 * 32;
    if (threadIdx.x == 0) unproven.n_rows = 0;
    const half_bits* halves_of_run = halves;
    rows += static_cast<i64>(blockIdx.x) * ROWS * depth;
    int n_depths = depth / DEPTH, n_stages = n_padded / COLUMNS * n_depths;
    auto fetch = [&](int stage) {
        if (stage < n_stages) {
            half_bits* to = shared + stage % STAGES * TILE;
            int column = stage / n_depths * COLUMNS, from = stage % n_depths * DEPTH;
            for (int at = threadIdx.x; at < (ROWS + COLUMNS) * PACKS; at += THREADS) {
                int line = at / PACKS, pack = at % PACKS * 8;
                const half_bits* source =
                    line < ROWS ? rows + static_cast<i64>(line) * depth
                                : halves_of_run + static_cast<i64>(column + line - ROWS) * depth;
                copy_16_bytes(to + line * STRIDE + pack, source + from + pack);
            }
        }
        asm volatile("cp.async.commit_group;" ::: "memory");
    };
    int n_tiles = static_cast<int>((n_points + ROWS - 1) / ROWS);
    // At least one tile for each block.
    for (int number = blockIdx.x; number < n_runs * n_tiles; number = next) {
        int run = number / n_tiles;
        __syncthreads();
        // A block that was kept by rows without a proof takes fewer tiles.
        if (threadIdx.x == 0) next = gridDim.x + atomicAdd(&counters[TAKEN], 1);
        const float* limits_of_run = limits + static_cast<i64>(run) * N_LIMITS;
        const Limits all = limits_of(limits_of_run, n_parts);
        if (threadIdx.x == 0) of_all = all;
        __syncthreads();
        if (has_stopped(before, most_shift, run)) continue;
        int of_centroids = static_cast<int>(limits_of_run[3 * MOST_PARTS]);
        const Choice<In, float> given = choice_of<In, float>(
            run, n_points, problems, {points, origin, centroids, sq_norms, n_features, n_clusters});
        halves_of_run = halves + static_cast<i64>(run) * n_padded * depth;
        i64 begin = static_cast<i64>(number - run * n_tiles) * ROWS;
        int n_rows = static_cast<int>(min(n_points - begin, static_cast<i64>(ROWS)));
        halve_rows(given.points + begin * n_features, given.origin, n_rows, n_features, depth,
                   of_centroids, of_all, rows, known, ratio_of);
        if (threadIdx.x < ROWS) {
            for (int part = 0; part < COLUMNS / 32; ++part) {
                nearest[part][threadIdx.x] = {3e38f, 3e38f, 0};
            }
        }
        __threadfence();  // copies read past the first cache
        __syncthreads();
        for (int stage = 0; stage < STAGES - 1; ++stage) fetch(stage);

        float scores[4][4][4];
        for (int stage = 0; stage < n_stages; ++stage) {
            int column = stage / n_depths * COLUMNS + own_columns;
            if (stage % n_depths == 0) {
#pragma unroll
                for (int n = 0; n < 4; ++n) {
                    i64 place = static_cast<i64>(run) * n_padded + column + 8 * n;
                    const float* bias = biases + place + lane % 4 * 2;
                    float2 both = *reinterpret_cast<const float2*>(bias);
#pragma unroll
                    for (int i = 0; i < 8; ++i) {
                        float ratio = ratio_of[own_rows + lane / 4 + 8 * i];
                        scores[i / 2][n][i % 2 * 2] = both.x * ratio;
                        scores[i / 2][n][i % 2 * 2 + 1] = both.y * ratio;
                    }
                }
            }
            asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 2) : "memory");
            __syncthreads();
            fetch(stage + STAGES - 1);
            const half_bits* tile = shared + stage % STAGES * TILE;
#pragma unroll
            for (int step = 0; step < DEPTH / 16; ++step) {
                unsigned of_rows[4][4], of_columns[2][4];
#pragma unroll
                for (int m = 0; m < 4; ++m) {
                    int row = own_rows + 16 * m + lane % 16;
                    load_matrices(of_rows[m], tile + row * STRIDE + 16 * step + lane / 16 * 8);
                }
#pragma unroll
                for (int n = 0; n < 2; ++n) {
                    int line = ROWS + own_columns + 16 * n + lane % 8 + lane / 16 * 8;
                    int from = 16 * step + lane / 8 % 2 * 8;
                    load_matrices(of_columns[n], tile + line * STRIDE + from);
                }
#pragma unroll
                for (int m = 0; m < 4; ++m) {
#pragma unroll
                    for (int n = 0; n < 4; ++n) {
                        multiply_add(scores[m][n], of_rows[m], of_columns[n / 2][n % 2 * 2],
                                     of_columns[n / 2][n % 2 * 2 + 1]);
                    }
                }
            }
            if (stage % n_depths == n_depths - 1) {
                float least[8], second[8];
#pragma unroll
                for (int i = 0; i < 8; ++i) least[i] = second[i] = 3e38f;
                take_least(scores, 0, least, second);
#pragma unroll
                for (int i = 0; i < 8; ++i) {
                    Nearest found = {least[i], second[i], column + column_of(least[i])};
                    merge_quad(found);
                    // In shared memory, not in registers, while the next centroids are multiplied.
                    Nearest& kept = nearest[warp % 4][own_rows + lane / 4 + 8 * i];
                    if (lane % 4 == 0) merge(kept, found.best, found.second, found.label);
                }
            }
        }
        asm volatile("cp.async.wait_group 0;" ::: "memory");
        __syncthreads();
        if (threadIdx.x < n_rows) {
            Nearest found = nearest[0][threadIdx.x];
            for (int part = 1; part < COLUMNS / 32; ++part) {
                const Nearest& other = nearest[part][threadIdx.x];
                merge(found, other.best, other.second, other.label);
            }
            bool is_sure = is_proven(found, known[threadIdx.x], ratio_of[threadIdx.x], of_all);
            int row = static_cast<int>(begin) + threadIdx.x;
            keep(is_sure, row, found.label, labels + run * n_points, unproven);
        }
        auto& chain = *reinterpret_cast<ChainTile<float, BATCH>*>(shared);
        settle<In, THREADS>(unproven, n_tiles, listed + run * n_points,
                            counters + run * counters_of_a_run(n_points), given, chain,
                            labels + run * n_points);
    }
}
