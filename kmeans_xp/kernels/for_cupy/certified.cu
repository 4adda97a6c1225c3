// Labels by tensor cores of rows of up to 128 features, which stay in registers; and centroids as
// tensor cores take them, of any number of features.

#include "proofs.cu"

// ---- centroids ----

#define PREPARING 1024  // threads of a block that prepares

// Of each centroid: its norm for the chain; -c scaled in half precision, padded with zeros to
// `depth` numbers; |h(c)|^2 / 2. Padded with centroids that are never near. Of each
// block: its limits. Every block looks for the greatest number of all, which spares a launch. The
// counters of rows without a proof are set to zero, also those of a run that has stopped: all runs
// count taken tiles in the first run's. The second dimension of the grid goes over runs.
extern "C" __global__ void __launch_bounds__(PREPARING)
prepare_centroids(const float* centroids, int n_clusters, int n_features, int n_padded, int depth,
                  int n_counters, float* sq_norms, half_bits* halves, float* biases,
                  float* limits, int* counters, STOP) {
    i64 run = blockIdx.y;
    counters += run * n_counters;
    for (int at = blockIdx.x * PREPARING + threadIdx.x; at < n_counters;
         at += gridDim.x * PREPARING) {
        counters[at] = 0;
    }
    if (has_stopped(before, most_shift, run)) return;
    centroids += run * n_clusters * n_features;
    sq_norms += run * n_clusters;
    halves += run * n_padded * depth;
    biases += run * n_padded;
    limits += run * N_LIMITS;
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
            // Not fmaxf alone: if one argument is NaN, it returns the other.
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
    if (blockIdx.x == 0 && threadIdx.x == 0) limits[3 * MOST_PARTS] = static_cast<float>(exponent);
}

// ---- up to 128 features: rows in registers, centroids pass by ----

template <int DEPTH> constexpr int AT_ONCE = DEPTH < 128 ? 4 : 3;  // blocks of a multiprocessor

// A warp has 32 rows, whose fragments stay in its registers; 64 centroids at a time pass through
// shared memory, fetched while those before them are multiplied. Groups of 16 that are all padding
// are not multiplied. The second dimension of the grid goes over runs.
template <typename In, int DEPTH>
__global__ void __launch_bounds__(128, AT_ONCE<DEPTH>)
certified_labels(const In* points, const float* origin, const int* problems,
                 const float* centroids, const float* sq_norms, i64 n_points, int n_features,
                 int n_clusters, const half_bits* halves, const float* biases, const float* limits,
                 int n_parts, int n_padded, int* labels, int* listed, int* counters, STOP) {
    int run = blockIdx.y;
    if (has_stopped(before, most_shift, run)) return;
    constexpr int WARPS = 4, ROWS = 32 * WARPS, COLUMNS = 64, STAGES = 2;
    constexpr int STRIDE = DEPTH + 8;  // 16 bytes more: ldmatrix then meets no bank twice
    constexpr int STEPS = DEPTH / 16;
    struct Scoring {
        alignas(16) half_bits halves[ROWS * STRIDE];  // of rows first, then of centroids
        alignas(16) float biases[STAGES][COLUMNS];
        float waiting[WARPS][32][17];
    };
    __shared__ union {
        Scoring scoring;
        ChainTile<float, BATCH> chain;
    } memory;
    __shared__ Row known[WARPS][32];
    __shared__ Limits of_all;
    __shared__ Choice<In, float> of_run;
    __shared__ Unproven<ROWS> unproven;
    half_bits* shared = memory.scoring.halves;
    auto& near_biases = memory.scoring.biases;
    auto& waiting = memory.scoring.waiting;
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int first = blockIdx.x * ROWS + 32 * warp;  // a part has fewer rows than 2^31
    const Choice<In, float> given = choice_of<In, float>(
        run, n_points, problems, {points, origin, centroids, sq_norms, n_features, n_clusters});
    limits += run * N_LIMITS;
    halves += static_cast<i64>(run) * n_padded * DEPTH;
    biases += static_cast<i64>(run) * n_padded;
    const Limits all = limits_of(limits, n_parts);
    if (threadIdx.x == 0) {
        of_all = all;
        of_run = given;  // not in registers, of which some architectures would spill others
        unproven.n_rows = 0;
    }
    int of_centroids = static_cast<int>(limits[3 * MOST_PARTS]);

    // Half a warp loads 16 features of a row.
    int n_rows = static_cast<int>(min(n_points - first, static_cast<i64>(32)));
    auto value_at = [&](int depth, int pair) {
        int row = 2 * pair + lane / 16, feature = depth + lane % 16;
        if (row >= n_rows || feature >= n_features) return 0.0f;
        i64 at = static_cast<i64>(first + row) * n_features + feature;
        float value = loaded<float>(given.points[at]);
        return given.origin ? less(value, given.origin[feature]) : value;
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

    int n_stages = (n_clusters + COLUMNS - 1) / COLUMNS;
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
        for (int n = 0; n < COLUMNS / 16 && stage * COLUMNS + 16 * n < n_clusters; ++n) {
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
    labels += run * n_points;
    listed += run * n_points;
    counters += run * counters_of_a_run(n_points);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        merge_quad(found[i]);
        int row = lane / 4 + 8 * i;
        bool is_mine = lane % 4 == 0 && first + row < n_points;
        if (is_mine) {
            bool is_sure = is_proven(found[i], known[warp][row], ratio, of_all);
            keep(is_sure, first + row, found[i].label, labels, unproven);
        }
    }
    const Choice<In, float> again = of_run;
    settle<In, ROWS>(unproven, gridDim.x, listed, counters, again, memory.chain, labels);
}

