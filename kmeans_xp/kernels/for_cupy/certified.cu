// Labels by tensor cores in half precision, each with a proof that the chain of common.cu gives
// the same; rows without one are listed, for exact_labels. docs/design.md has the bound and why
// it holds. For compute capability 8.0 and above.
//
// Rows and centroids are scaled by powers of two, so that the greatest number lies below 2^15.
// Rounding to half moves a row or a centroid by a length that is computed, not bounded, and two
// distances that differ by more than all that was moved are in the same order before it. The
// scores are those of the rounded numbers, |h(c)|^2 / 2 included.

typedef unsigned short half_bits;

#define INFINITE __int_as_float(0x7f800000)

// The bias of a centroid that is not there: with every ratio of scales that is allowed, more than
// any score and less than infinity, whose lower bits would make it no number.
#define FAR 1.5474250491067253e26f  // 2^87
#define MOST_RATIO 40               // of the scales of rows and of centroids, as a power of two

// A flushed square of a residual is less than 2^-126, that of a flushed number than 2^-126 * scale.
#define LEAST_LOST 1e-17f
#define LEAST_NORMAL 1.2e-38f

// ---- halves, and what moves and multiplies them ----

__device__ __forceinline__ half_bits to_half(float value) {
    half_bits half;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(value));
    return half;
}

__device__ __forceinline__ float of_half(half_bits half) { return loaded<float>(Half{half}); }

__device__ __forceinline__ unsigned shared_address(const void* at) {
    return static_cast<unsigned>(__cvta_generic_to_shared(at));
}

__device__ __forceinline__ void copy_16_bytes(void* to, const void* from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from)
                 : "memory");
}

__device__ __forceinline__ void load_matrices(unsigned (&into)[4], const half_bits* at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(into[0]), "=r"(into[1]), "=r"(into[2]), "=r"(into[3])
                 : "r"(shared_address(at))
                 : "memory");
}

// 16 rows x 8 centroids, 16 features.
__device__ __forceinline__ void multiply_add(float (&to)[4], const unsigned (&rows)[4],
                                             unsigned first, unsigned second) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, "
        "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(to[0]), "+f"(to[1]), "+f"(to[2]), "+f"(to[3])
        : "r"(rows[0]), "r"(rows[1]), "r"(rows[2]), "r"(rows[3]), "r"(first), "r"(second));
}

__device__ __forceinline__ float warp_max(float value) {
    for (int step = 16; step > 0; step >>= 1) {
        value = fmaxf(value, __shfl_xor_sync(FULL_MASK, value, step));
    }
    return value;
}

// The exponent of the greatest number, within what scales allow.
__device__ __forceinline__ int exponent_of(float most) {
    int exponent = static_cast<int>(__float_as_uint(most) >> 23) - 127;
    return max(-100, min(100, exponent));
}

__device__ __forceinline__ float power_of_two(int exponent) {
    return __uint_as_float(static_cast<unsigned>(127 + exponent) << 23);
}

__device__ __forceinline__ float finite_size(float value) {
    float size = fabsf(value);
    return size < INFINITE ? size : 0.0f;
}

// ---- centroids ----

// What is true of all centroids, scaled: the greatest |c|, |c - h(c)|, |h(c)|^2 / 2.
struct Limits { float norm, lost, bias; };

#define PREPARING 1024  // threads of a block that prepares
#define MOST_PARTS 64   // blocks of it at most

// Of each centroid: its norm for the chain; -c scaled in half precision, padded with zeros to
// `depth` numbers; |h(c)|^2 / 2. Padded with centroids that are never near. Of each
// block: its limits. Every block looks for the greatest number of all, which spares a launch.
extern "C" __global__ void __launch_bounds__(PREPARING)
prepare_centroids(const float* centroids, int n_clusters, int n_features, int n_padded, int depth,
                  int n_counts, float* sq_norms, half_bits* halves, float* biases, float* limits,
                  int* counts) {
    __shared__ float of_warp[3][PREPARING / 32];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    float most = 0.0f;
    i64 n_numbers = static_cast<i64>(n_clusters) * n_features;
#pragma unroll 8
    for (i64 at = threadIdx.x; at < n_numbers; at += PREPARING) {
        most = fmaxf(most, finite_size(centroids[at]));
    }
    most = warp_max(most);
    if (lane == 0) of_warp[0][warp] = most;
    __syncthreads();
    int exponent = exponent_of(warp_max(of_warp[0][lane]));
    float scale = power_of_two(14 - exponent);
    __syncthreads();
    Limits own = {0.0f, 0.0f, 0.0f};
    for (int cluster = blockIdx.x * (PREPARING / 32) + warp; cluster < n_padded;
         cluster += gridDim.x * (PREPARING / 32)) {
        const float* centroid = centroids + static_cast<i64>(cluster) * n_features;
        bool is_there = cluster < n_clusters;
        float sq = 0.0f, sq_lost = 0.0f;
        double sq_half = 0.0;
        for (int feature = lane; feature < depth; feature += 32) {
            bool is_number = is_there && feature < n_features;
            float value = is_number ? centroid[feature] * scale : 0.0f;
            half_bits half = to_half(-value);
            float lost = value + of_half(half);
            halves[static_cast<i64>(cluster) * depth + feature] = half;
            sq = fmaf(value, value, sq);
            sq_lost = fmaf(lost, lost, sq_lost);
            double rounded = of_half(half);
            sq_half += rounded * rounded;
        }
        for (int step = 16; step > 0; step >>= 1) {
            sq += __shfl_xor_sync(FULL_MASK, sq, step);
            sq_lost += __shfl_xor_sync(FULL_MASK, sq_lost, step);
            sq_half += __shfl_xor_sync(FULL_MASK, sq_half, step);
        }
        float bias = FAR;
        if (is_there) {
            float sq_norm = sq_norm_of(centroid, n_features);
            if (lane == 0) sq_norms[cluster] = sq_norm;
            bias = static_cast<float>(0.5 * sq_half);
            float flushed = sqrtf(static_cast<float>(n_features)) * LEAST_NORMAL * scale;
            float norm = sqrtf(sq) * 1.001f, lost = sqrtf(sq_lost) * 1.001f + LEAST_LOST + flushed;
            // Not fmaxf alone: it takes the other one where one is no number.
            own.norm = norm < INFINITE ? fmaxf(own.norm, norm) : INFINITE;
            own.lost = lost < INFINITE ? fmaxf(own.lost, lost) : INFINITE;
            float most_bias = fmaxf(bias, 0.5f * norm * norm);  // of the chain's too
            own.bias = most_bias < INFINITE ? fmaxf(own.bias, most_bias) : INFINITE;
        }
        if (lane == 0) biases[cluster] = bias;
    }
    if (lane == 0) {
        of_warp[0][warp] = own.norm;
        of_warp[1][warp] = own.lost;
        of_warp[2][warp] = own.bias;
    }
    __syncthreads();
    if (warp < 3) {
        float greatest = warp_max(of_warp[warp][lane]);
        if (lane == 0) limits[warp * MOST_PARTS + blockIdx.x] = greatest;
    }
    if (blockIdx.x == 0) {
        if (threadIdx.x == 0) limits[3 * MOST_PARTS] = static_cast<float>(exponent);
        for (int at = threadIdx.x; at < n_counts; at += PREPARING) counts[at] = 0;
    }
}

// The limits of all blocks, in every lane of a warp.
__device__ Limits limits_of(const float* limits, int n_parts) {
    Limits all = {0.0f, 0.0f, 0.0f};
    for (int part = threadIdx.x % 32; part < n_parts; part += 32) {
        all.norm = fmaxf(all.norm, limits[part]);
        all.lost = fmaxf(all.lost, limits[MOST_PARTS + part]);
        all.bias = fmaxf(all.bias, limits[2 * MOST_PARTS + part]);
    }
    return {warp_max(all.norm), warp_max(all.lost), warp_max(all.bias)};
}

// ---- rows ----

__device__ __forceinline__ int exponent_of_rows(float most, int of_centroids) {
    return max(of_centroids - MOST_RATIO, min(of_centroids + MOST_RATIO, exponent_of(most)));
}

// What is known of a row, in its scale: how far rounding moved it, the square of its length after
// that, and what two scores must be apart at any distances. No number if the row has none.
struct Row { float lost, sq, apart; };

__device__ __forceinline__ Row row_of(float sq, float sq_lost, float scale, float centroid_scale,
                                      int depth, const Limits& limits) {
    float ratio = scale / centroid_scale;
    float flushed = sqrtf(static_cast<float>(depth)) * LEAST_NORMAL * scale;
    float lost = sqrtf(sq_lost) * 1.001f + LEAST_LOST + flushed;
    float length = sqrtf(sq) * 1.001f + lost;
    float reach = limits.bias * ratio + length * (limits.norm + limits.lost);
    float error = reach * ((depth / 8 + 2) * 1.25f / 2097152.0f     // sums in the tensor cores
                           + 1.0f / 524288.0f                       // a column in the low bits
                           + (depth + 3) * 1.02f / 16777216.0f);    // the chain
    // Below the normal numbers the chain rounds to multiples of 2^-149.
    error += (depth + 3) * (scale * 2.6e-23f) * (centroid_scale * 5.3e-23f);
    // Where a sum of the chain may be infinite, it does not tell centroids apart.
    if (!(reach / scale / centroid_scale < 1e38f)) error = INFINITE;
    return {lost, sq * 1.0002f, 2.002f * error};
}

// The distance that belongs to a score, or a little more; of centroids, in their scale.
__device__ __forceinline__ float distance_of(float score, const Row& row, float inverse_ratio) {
    float above = score + row.apart;
    float sq = row.sq * inverse_ratio * inverse_ratio + 2.0f * above * inverse_ratio;
    return sqrtf(fmaxf(sq, 0.0f) * 1.0001f);
}

// The least and the next of the scores of a row, and whose the least is.
struct Nearest { float best, second; int label; };

__device__ __forceinline__ void merge(Nearest& into, float best, float second, int label) {
    into.second = fminf(fminf(into.second, second), fmaxf(into.best, best));
    if (best < into.best) {
        into.best = best;
        into.label = label;
    }
}

// Over the four lanes that have columns of the same row.
__device__ __forceinline__ void merge_quad(Nearest& found) {
    for (int step = 1; step < 4; step *= 2) {
        float best = __shfl_xor_sync(FULL_MASK, found.best, step);
        float second = __shfl_xor_sync(FULL_MASK, found.second, step);
        int label = __shfl_xor_sync(FULL_MASK, found.label, step);
        merge(found, best, second, label);
    }
}

// Whether the least score's centroid is the chain's. False for what is not a number. A score of
// zero has lost its column: below 1e-38 it is flushed, column and all.
__device__ bool is_proven(const Nearest& found, const Row& row, float ratio, const Limits& limits) {
    float inverse = 1.0f / ratio;
    float both = distance_of(found.best, row, inverse) + distance_of(found.second, row, inverse);
    // The row was moved; or else its product with the difference of two centroids was changed.
    float of_row = row.lost * fminf(both, 2.0f * limits.norm);
    float apart = row.apart + 1.001f * (of_row + ratio * limits.lost * both);
    return found.second - found.best > apart && fabsf(found.best) > 1e-37f;
}

// The result of a row of a lane; all lanes of a warp come here together.
__device__ void write_row(const Nearest& found, bool is_sure, bool is_mine, i64 row, int* labels,
                          int* doubtful, int* n_doubtful) {
    int lane = threadIdx.x % 32;
    if (is_mine) labels[row] = found.label;
    unsigned votes = __ballot_sync(FULL_MASK, is_mine && !is_sure);
    if (votes == 0) return;
    int place = 0;
    if (lane == 0) place = atomicAdd(n_doubtful, __popc(votes));
    place = __shfl_sync(FULL_MASK, place, 0) + __popc(votes & ((1u << lane) - 1u));
    // In any order: a row's label does not depend on its place.
    if (is_mine && !is_sure) doubtful[place] = static_cast<int>(row);
}

// Of 8 N centroids against 16 M rows: fewer instructions than to compare and select. The column's
// number goes into the low bits of its score, which minima carry along.
template <int M, int N>
__device__ __forceinline__ void take_least(const float (&scores)[M][N][4], int code,
                                           float (&least)[2 * M], float (&next)[2 * M]) {
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
        for (int n = 0; n < N; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int row = 2 * m + i / 2;
                unsigned bits = __float_as_uint(scores[m][n][i]) & ~15u;
                float score = __uint_as_float(bits | (code + 2 * n + i % 2));
                next[row] = fminf(next[row], fmaxf(least[row], score));
                least[row] = fminf(least[row], score);
            }
        }
    }
}

// The column of a score among 64, or fewer, of which its lane has two in each 8.
__device__ __forceinline__ int column_of(float score) {
    int code = __float_as_uint(score) & 15;
    return code / 2 * 8 + threadIdx.x % 4 * 2 + code % 2;
}

// ---- up to 128 features: rows in registers, centroids pass by ----

template <int DEPTH> constexpr int AT_ONCE = DEPTH < 64 ? 4 : 3;  // blocks of a multiprocessor

// A warp has 32 rows, whose fragments stay in its registers; 64 centroids at a time pass through
// shared memory, fetched while those before them are multiplied.
template <typename In, int DEPTH>
__global__ void __launch_bounds__(128, AT_ONCE<DEPTH>)
certified_labels(const In* points, const float* origin, i64 n_points, int n_features,
                 const half_bits* halves, const float* biases, const float* limits, int n_parts,
                 int n_padded, int* labels, int* doubtful, int* n_doubtful) {
    constexpr int WARPS = 4, ROWS = 32 * WARPS, COLUMNS = 64, STAGES = 2;
    constexpr int STRIDE = DEPTH + 8;  // 16 bytes more: ldmatrix then meets no bank twice
    constexpr int STEPS = DEPTH / 16;
    // Rows first, then centroids.
    __shared__ alignas(16) half_bits shared[ROWS * STRIDE];
    __shared__ alignas(16) float near_biases[STAGES][COLUMNS];
    __shared__ float waiting[WARPS][32][17];
    __shared__ Row known[WARPS][32];
    __shared__ Limits of_all;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    i64 first = static_cast<i64>(blockIdx.x) * ROWS + 32 * warp;
    const Limits all = limits_of(limits, n_parts);
    if (threadIdx.x == 0) of_all = all;
    int of_centroids = static_cast<int>(limits[3 * MOST_PARTS]);

    // Half a warp loads 16 features of a row.
    int n_rows = static_cast<int>(min(n_points - first, static_cast<i64>(32)));
    auto value_at = [&](int depth, int pair) {
        int row = 2 * pair + lane / 16, feature = depth + lane % 16;
        if (row >= n_rows || feature >= n_features) return 0.0f;
        float value = loaded<float>(points[(first + row) * n_features + feature]);
        return origin ? less(value, origin[feature]) : value;
    };
    float most = 0.0f;
    for (int depth = 0; depth < n_features; depth += 16) {
#pragma unroll 4
        for (int pair = 0; pair < 16; ++pair) most = fmaxf(most, finite_size(value_at(depth, pair)));
    }
    int exponent = exponent_of_rows(warp_max(most), of_centroids);
    float scale = power_of_two(14 - exponent), ratio = power_of_two(of_centroids - exponent);

    half_bits* mine = shared + (32 * warp + lane) * STRIDE;  // a lane has a row
    float sq = 0.0f, sq_lost = 0.0f;
    for (int depth = 0; depth < DEPTH; depth += 16) {
        __syncwarp();
#pragma unroll 4
        for (int pair = 0; pair < 16; ++pair) {
            waiting[warp][2 * pair + lane / 16][lane % 16] = value_at(depth, pair) * scale;
        }
        __syncwarp();
#pragma unroll
        for (int pack = 0; pack < 16; pack += 8) {
            unsigned packed[4];
#pragma unroll
            for (int at = 0; at < 8; ++at) {
                float value = waiting[warp][lane][pack + at];
                half_bits half = to_half(value);
                float rounded = of_half(half), lost = value - rounded;
                sq = fmaf(rounded, rounded, sq);
                sq_lost = fmaf(lost, lost, sq_lost);
                unsigned shifted = static_cast<unsigned>(half) << (at % 2 * 16);
                packed[at / 2] = at % 2 ? packed[at / 2] | shifted : shifted;
            }
            *reinterpret_cast<uint4*>(mine + depth + pack) =
                make_uint4(packed[0], packed[1], packed[2], packed[3]);
        }
    }
    // In shared memory, not in registers, until the end.
    known[warp][lane] = row_of(sq, sq_lost, scale, power_of_two(14 - of_centroids), DEPTH, all);
    __syncwarp();
    unsigned rows[2][STEPS][4];
#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
        for (int step = 0; step < STEPS; ++step) {
            int row = 32 * warp + 16 * m + lane % 16;
            load_matrices(rows[m][step], shared + row * STRIDE + 16 * step + lane / 16 * 8);
        }
    }
    __syncthreads();  // centroids overwrite the rows from here on

    int n_stages = n_padded / COLUMNS;
    auto fetch = [&](int stage) {
        if (stage < n_stages) {
            half_bits* to = shared + stage % STAGES * COLUMNS * STRIDE;
            const half_bits* from = halves + static_cast<i64>(stage) * COLUMNS * DEPTH;
            constexpr int PACKS = DEPTH / 8;
            for (int at = threadIdx.x; at < COLUMNS * PACKS; at += ROWS) {
                copy_16_bytes(to + at / PACKS * STRIDE + at % PACKS * 8, from + at * 8);
            }
            if (threadIdx.x < COLUMNS / 4) {
                int at = 4 * threadIdx.x;
                copy_16_bytes(&near_biases[stage % STAGES][at], biases + stage * COLUMNS + at);
            }
        }
        asm volatile("cp.async.commit_group;" ::: "memory");
    };
    for (int stage = 0; stage < STAGES - 1; ++stage) fetch(stage);

    Nearest found[4];  // of rows g, g + 8, g + 16, g + 24, where g = lane / 4
#pragma unroll
    for (int i = 0; i < 4; ++i) found[i] = {3e38f, 3e38f, 0};
    int t = lane % 4;
    for (int stage = 0; stage < n_stages; ++stage) {
        asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 2) : "memory");
        __syncthreads();
        fetch(stage + STAGES - 1);
        const half_bits* tile = shared + stage % STAGES * COLUMNS * STRIDE;
        float least[4], next[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) least[i] = next[i] = 3e38f;
#pragma unroll 2
        for (int n = 0; n < COLUMNS / 16; ++n) {
            float scores[2][2][4];
#pragma unroll
            for (int h = 0; h < 2; ++h) {
                const float* bias = &near_biases[stage % STAGES][16 * n + 8 * h + 2 * t];
                float2 both = *reinterpret_cast<const float2*>(bias);
#pragma unroll
                for (int m = 0; m < 2; ++m) {
                    scores[m][h][0] = scores[m][h][2] = both.x * ratio;
                    scores[m][h][1] = scores[m][h][3] = both.y * ratio;
                }
            }
#pragma unroll
            for (int step = 0; step < STEPS; ++step) {
                unsigned columns[4];
                int column = 16 * n + lane % 8 + lane / 16 * 8;
                load_matrices(columns, tile + column * STRIDE + 16 * step + lane / 8 % 2 * 8);
#pragma unroll
                for (int m = 0; m < 2; ++m) {
                    multiply_add(scores[m][0], rows[m][step], columns[0], columns[1]);
                    multiply_add(scores[m][1], rows[m][step], columns[2], columns[3]);
                }
            }
            take_least(scores, 4 * n, least, next);
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            merge(found[i], least[i], next[i], stage * COLUMNS + column_of(least[i]));
        }
    }
    asm volatile("cp.async.wait_group 0;" ::: "memory");
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        merge_quad(found[i]);
        int row = lane / 4 + 8 * i;
        bool is_mine = lane % 4 == 0 && first + row < n_points;
        bool is_sure = is_proven(found[i], known[warp][row], ratio, of_all);
        write_row(found[i], is_sure, is_mine, first + row, labels, doubtful, n_doubtful);
    }
}

// ---- more features: tiles of rows and of centroids pass by ----

// Rows less the origin in half precision, each with a scale of its own and padded with zeros to
// `depth` numbers; what is known of each, and its scale over that of the centroids. A warp a row.
template <typename In>
__global__ void __launch_bounds__(THREADS)
halve_rows(const In* points, const float* origin, i64 n_points, int n_features, int depth,
           const float* limits, int n_parts, half_bits* halves, Row* known, float* ratios) {
    i64 row = (static_cast<i64>(blockIdx.x) * THREADS + threadIdx.x) / 32;
    if (row >= n_points) return;
    int lane = threadIdx.x % 32;
    const Limits all = limits_of(limits, n_parts);
    int of_centroids = static_cast<int>(limits[3 * MOST_PARTS]);
    const In* of_row = points + row * n_features;
    auto value_at = [&](int feature) {
        if (feature >= n_features) return 0.0f;
        float value = loaded<float>(of_row[feature]);
        return origin ? less(value, origin[feature]) : value;
    };
    float most = 0.0f;
#pragma unroll 4
    for (int feature = lane; feature < n_features; feature += 32) {
        most = fmaxf(most, finite_size(value_at(feature)));
    }
    int exponent = exponent_of_rows(warp_max(most), of_centroids);
    float scale = power_of_two(14 - exponent);
    float sq = 0.0f, sq_lost = 0.0f;
#pragma unroll 4
    for (int feature = lane; feature < depth; feature += 32) {
        float value = value_at(feature) * scale;
        half_bits half = to_half(value);
        float rounded = of_half(half), lost = value - rounded;
        halves[row * depth + feature] = half;
        sq = fmaf(rounded, rounded, sq);
        sq_lost = fmaf(lost, lost, sq_lost);
    }
    for (int step = 16; step > 0; step >>= 1) {
        sq += __shfl_xor_sync(FULL_MASK, sq, step);
        sq_lost += __shfl_xor_sync(FULL_MASK, sq_lost, step);
    }
    if (lane == 0) {
        known[row] = row_of(sq, sq_lost, scale, power_of_two(14 - of_centroids), depth, all);
        ratios[row] = power_of_two(of_centroids - exponent);
    }
}

// 128 rows against all centroids, 128 at a time, of which 64 features at a time are in shared
// memory: fetched while those before them are multiplied. A warp has 64 rows and 32 centroids.
// The rows are `n_points` of a part, from its row `first` on.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
certified_wide_labels(const half_bits* rows, const Row* known, const float* ratios,
                      i64 n_points, i64 first, int depth, const half_bits* halves,
                      const float* biases, const float* limits, int n_parts, int n_padded,
                      int* labels, int* doubtful, int* n_doubtful) {
    constexpr int ROWS = 128, COLUMNS = 128, DEPTH = 64, STAGES = 2;
    constexpr int STRIDE = DEPTH + 8;  // 16 bytes more: ldmatrix then meets no bank twice
    constexpr int TILE = (ROWS + COLUMNS) * STRIDE, PACKS = DEPTH / 8;
    extern __shared__ uint4 dynamic[];
    half_bits* shared = reinterpret_cast<half_bits*>(dynamic);
    __shared__ float ratio_of[ROWS];
    __shared__ Nearest nearest[COLUMNS / 32][ROWS];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int own_rows = warp / 4 * 64, own_columns = warp % 4 * 32;
    i64 begin = static_cast<i64>(blockIdx.x) * ROWS;
    if (threadIdx.x < ROWS) {
        ratio_of[threadIdx.x] = ratios[min(begin + threadIdx.x, n_points - 1)];
        for (int part = 0; part < COLUMNS / 32; ++part) {
            nearest[part][threadIdx.x] = {3e38f, 3e38f, 0};
        }
    }
    int n_depths = depth / DEPTH, n_stages = n_padded / COLUMNS * n_depths;
    auto fetch = [&](int stage) {
        if (stage < n_stages) {
            half_bits* to = shared + stage % STAGES * TILE;
            int column = stage / n_depths * COLUMNS, from = stage % n_depths * DEPTH;
            for (int at = threadIdx.x; at < (ROWS + COLUMNS) * PACKS; at += THREADS) {
                int line = at / PACKS, pack = at % PACKS * 8;
                i64 row = min(begin + line, n_points - 1);
                const half_bits* source =
                    line < ROWS ? rows + row * depth
                                : halves + static_cast<i64>(column + line - ROWS) * depth;
                copy_16_bytes(to + line * STRIDE + pack, source + from + pack);
            }
        }
        asm volatile("cp.async.commit_group;" ::: "memory");
    };
    for (int stage = 0; stage < STAGES - 1; ++stage) fetch(stage);
    __syncthreads();

    float scores[4][4][4];
    for (int stage = 0; stage < n_stages; ++stage) {
        int column = stage / n_depths * COLUMNS + own_columns;
        if (stage % n_depths == 0) {
#pragma unroll
            for (int n = 0; n < 4; ++n) {
                const float* bias = biases + column + 8 * n + lane % 4 * 2;
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
                load_matrices(of_columns[n], tile + line * STRIDE + 16 * step + lane / 8 % 2 * 8);
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
            float least[8], next[8];
#pragma unroll
            for (int i = 0; i < 8; ++i) least[i] = next[i] = 3e38f;
            take_least(scores, 0, least, next);
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                Nearest found = {least[i], next[i], column + column_of(least[i])};
                merge_quad(found);
                // In shared memory, not in registers, while the next centroids are multiplied.
                Nearest& kept = nearest[warp % 4][own_rows + lane / 4 + 8 * i];
                if (lane % 4 == 0) merge(kept, found.best, found.second, found.label);
            }
        }
    }
    asm volatile("cp.async.wait_group 0;" ::: "memory");
    __syncthreads();
    if (threadIdx.x >= ROWS) return;
    Nearest found = nearest[0][threadIdx.x];
    for (int part = 1; part < COLUMNS / 32; ++part) {
        const Nearest& other = nearest[part][threadIdx.x];
        merge(found, other.best, other.second, other.label);
    }
    i64 row = begin + threadIdx.x;
    bool is_mine = row < n_points;
    const Limits all = limits_of(limits, n_parts);
    bool is_sure = is_mine && is_proven(found, known[row], ratio_of[threadIdx.x], all);
    write_row(found, is_sure, is_mine, first + row, labels, doubtful, n_doubtful);
}
