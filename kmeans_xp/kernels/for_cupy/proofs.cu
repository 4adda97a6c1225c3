// Proofs for labels by tensor cores: halves, what is known of centroids and of rows, whether a least
// score is the chain's, and the chain for rows without a proof. docs/design.md has the bound and
// why it holds. For compute capability 8.0 and above.
//
// Rows and centroids are scaled by powers of two, so that the greatest number lies below 2^15.
// Rounding to half moves a row or a centroid by a length that is computed, not bounded. Two distances
// that differ by more than the sum of these lengths have the same order before rounding. The scores
// are those of the rounded numbers, |h(c)|^2 / 2 included.

#include "chain.cu"

typedef unsigned short half_bits;

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

// ---- what is known of all centroids, and of a row ----

// What is true of all centroids, scaled: the greatest |c|, |c - h(c)|, |h(c)|^2 / 2.
struct Limits { float norm, lost, bias; };

#define MOST_PARTS 64  // blocks at most that prepare the centroids of a run
#define N_LIMITS (3 * MOST_PARTS + 1)  // of a run: those of each block, and the scale's exponent

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
    error += (depth + 3) * (scale * 2.65e-23f) * (centroid_scale * 5.3e-23f);
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
    // Either the row was moved, or its product with the difference of two centroids was changed.
    float of_row = row.lost * fminf(both, 2.0f * limits.norm);
    float apart = row.apart + 1.001f * (of_row + ratio * limits.lost * both);
    return found.second - found.best > apart && fabsf(found.best) > 1e-37f;
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

// ---- rows without a proof ----

#define BATCH 32  // rows that a block labels by the chain together

// What is counted of a run, zeros before: rows that are listed; tiles that are done; tiles that were
// taken beyond the first of each block; then, of each BATCH listed rows, how many are there. Tiles
// of all runs are taken by the counter of the first.
enum { LISTED, DONE, TAKEN, WRITTEN };

__device__ __forceinline__ i64 counters_of_a_run(i64 n_points) {
    return WRITTEN + (n_points + BATCH - 1) / BATCH;
}

// Rows of a block without a proof, in any order, since a row's label does not depend on its place;
// and batches that the block is to label.
template <int ROWS> struct Unproven {
    static constexpr int BATCHES = ROWS / BATCH + 2;
    int n_rows, place;
    int rows[ROWS];
    int batch[BATCHES], size[BATCHES];
};

// Keeps a label that has a proof, and the row where it has none.
template <int ROWS>
__device__ __forceinline__ void keep(bool is_sure, int row, int label, int* labels,
                                     Unproven<ROWS>& own) {
    if (is_sure) labels[row] = label; else own.rows[atomicAdd(&own.n_rows, 1)] = row;
}

// Lists a tile's rows without a proof. The block that completes a batch labels it by the chain,
// while others still multiply; the block that is done with the last of n_tiles labels what is left
// over. All threads of the block come here, and nothing else is in the memory of the chain's tile
// any more.
template <typename In, int N, int ROWS>
__device__ __forceinline__ void settle(Unproven<ROWS>& own, int n_tiles, int* listed,
                                       int* counters, const Choice<In, float>& given,
                                       ChainTile<float, BATCH>& tile, int* labels) {
    __syncthreads();
    int n_rows = own.n_rows;
    if (threadIdx.x < Unproven<ROWS>::BATCHES) own.size[threadIdx.x] = 0;
    if (n_rows > 0) {
        if (threadIdx.x == 0) own.place = atomicAdd(&counters[LISTED], n_rows);
        __syncthreads();
        int place = own.place, end = place + n_rows;
        if (threadIdx.x < n_rows) listed[place + threadIdx.x] = own.rows[threadIdx.x];
        __threadfence();
        __syncthreads();
        int batch = place / BATCH + threadIdx.x;
        if (batch * BATCH < end) {
            int n_own = min(end, (batch + 1) * BATCH) - max(place, batch * BATCH);
            bool is_whole = atomicAdd(&counters[WRITTEN + batch], n_own) + n_own == BATCH;
            own.batch[threadIdx.x] = batch;
            own.size[threadIdx.x] = is_whole ? BATCH : 0;
        }
        if (threadIdx.x == 0) own.n_rows = 0;
    }
    if (is_last(&counters[DONE], n_tiles) && threadIdx.x == 0) {
        int n_listed = __ldcg(&counters[LISTED]);
        own.batch[Unproven<ROWS>::BATCHES - 1] = n_listed / BATCH;
        own.size[Unproven<ROWS>::BATCHES - 1] = n_listed % BATCH;
    }
    __threadfence();
    for (int each = 0; each < Unproven<ROWS>::BATCHES; ++each) {
        __syncthreads();
        int size = own.size[each];
        if (size == 0) continue;
        if (threadIdx.x < BATCH) {
            int at = own.batch[each] * BATCH + min(static_cast<int>(threadIdx.x), size - 1);
            tile.row_at[threadIdx.x] = __ldcg(&listed[at]);
        }
        label_by_chain<In, float, BATCH, N, 32>(given, tile, size, labels);
    }
}
