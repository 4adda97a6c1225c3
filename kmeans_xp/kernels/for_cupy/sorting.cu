// Rows in the order of their labels.

#include "common.cu"

#define CHUNK_BITS 12
#define DIGIT_BITS 6
#define N_DIGITS (1 << DIGIT_BITS)
#define SORTING 512  // threads
#define N_ROUNDS ((1 << CHUNK_BITS) / SORTING)

// Sorts the rows of each chunk by their labels, a block a chunk: digit by digit, each pass stable,
// so that a row's place follows from the labels alone. The last block cuts each cluster's rows
// into pieces, at least one, since an empty cluster has a total too. counts are zero before, and
// so is the ticket behind them. The second dimension of the grid goes over runs.
extern "C" __global__ void __launch_bounds__(SORTING)
sort_chunks(const int* labels, int n_rows, int n_clusters, int chunk_bits, int rows_per_piece,
            unsigned short* order, unsigned short* run_starts, int* counts, int* piece_starts,
            STOP) {
    if (has_stopped(before, most_shift, blockIdx.y)) return;
    i64 of_run = static_cast<i64>(blockIdx.y) * n_rows, n_starts = n_clusters + 1ll;
    labels += of_run;
    order += of_run;
    counts += blockIdx.y * n_starts;
    piece_starts += blockIdx.y * n_starts;
    __shared__ unsigned keys[2][1 << CHUNK_BITS];  // the label, then the place in the chunk
    __shared__ int digits[N_DIGITS * (SORTING / 32)];  // of a digit all warps
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int first = blockIdx.x << chunk_bits;
    int n_own = min(n_rows - first, 1 << chunk_bits);
    int n_total;
    for (int at = threadIdx.x; at < n_own; at += SORTING) {
        keys[0][at] = static_cast<unsigned>(labels[first + at]) << chunk_bits | at;
    }
    int from = 0;
    for (int shift = 0; (n_clusters - 1) >> shift > 0; shift += DIGIT_BITS, from ^= 1) {
        for (int at = threadIdx.x; at < N_DIGITS * (SORTING / 32); at += SORTING) digits[at] = 0;
        __syncthreads();
        int digit[N_ROUNDS], rank[N_ROUNDS];
        unsigned key[N_ROUNDS];
#pragma unroll
        for (int round = 0; round < N_ROUNDS; ++round) {
            int at = (warp * N_ROUNDS + round) * 32 + lane;
            key[round] = at < n_own ? keys[from][at] : 0;
            digit[round] = at < n_own ? key[round] >> (shift + chunk_bits) & (N_DIGITS - 1) : -1;
            unsigned same = __match_any_sync(FULL_MASK, digit[round]);
            int cell = digit[round] * (SORTING / 32) + warp;
            int before = at < n_own ? digits[cell] : 0;
            rank[round] = before + __popc(same & ((1u << lane) - 1u));
            __syncwarp();
            if (at < n_own && lane == __ffs(same) - 1) digits[cell] = before + __popc(same);
            __syncwarp();
        }
        __syncthreads();
        int of_pair = digits[2 * threadIdx.x] + digits[2 * threadIdx.x + 1];
        int place = block_scan(of_pair, n_total) - of_pair;
        int middle = place + digits[2 * threadIdx.x];
        digits[2 * threadIdx.x] = place;
        digits[2 * threadIdx.x + 1] = middle;
        __syncthreads();
#pragma unroll
        for (int round = 0; round < N_ROUNDS; ++round) {
            if (digit[round] >= 0) {
                int cell = digit[round] * (SORTING / 32) + warp;
                keys[from ^ 1][digits[cell] + rank[round]] = key[round];
            }
        }
        __syncthreads();
    }
    __syncthreads();
    const unsigned* sorted = keys[from];
    for (int at = threadIdx.x; at < n_own; at += SORTING) {
        order[first + at] = sorted[at] & ((1u << chunk_bits) - 1u);
    }
    i64 chunk = static_cast<i64>(blockIdx.y) * gridDim.x + blockIdx.x;
    unsigned short* starts = run_starts + chunk * n_starts;
    for (int cluster = threadIdx.x; cluster <= n_clusters; cluster += SORTING) {
        int bounds[2];  // where this cluster and the next begin
        for (int which = 0; which < 2; ++which) {
            int low = 0, high = n_own;
            while (low < high) {
                int middle = (low + high) / 2;
                if (static_cast<int>(sorted[middle] >> chunk_bits) < cluster + which) {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            bounds[which] = low;
        }
        starts[cluster] = bounds[0];
        if (bounds[1] > bounds[0]) atomicAdd(&counts[cluster], bounds[1] - bounds[0]);
    }
    if (!is_last(&counts[n_clusters], gridDim.x)) return;
    int n_before = 0;
    for (int base = 0; base < n_clusters; base += SORTING) {
        int cluster = base + threadIdx.x, n_pieces = 0;
        if (cluster < n_clusters) {
            n_pieces = max((__ldcg(&counts[cluster]) + rows_per_piece - 1) / rows_per_piece, 1);
        }
        int end = block_scan(n_pieces, n_total);
        if (cluster < n_clusters) piece_starts[cluster] = n_before + end - n_pieces;
        n_before += n_total;
    }
    if (threadIdx.x == 0) piece_starts[n_clusters] = n_before;
}
