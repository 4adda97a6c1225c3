// Totals of parts.

#include "common.cu"

// out[cell] = sum over parts of partials[part, cell], in a fixed order: the lanes of a warp lie
// across cells, and the warps of a block across parts.
extern "C" __global__ void __launch_bounds__(1024)
merge_parts(const double* partials, i64 n_parts, i64 n_cells, double* out, STOP) {
    if (has_stopped(before, most_shift, 0)) return;
    __shared__ double of_warp[32][32];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, n_warps = blockDim.x / 32;
    i64 cell = blockIdx.x * 32ll + lane;
    double total = 0.0;
    if (cell < n_cells) {
#pragma unroll 4
        for (i64 part = warp; part < n_parts; part += n_warps) {
            total += partials[part * n_cells + cell];
        }
    }
    of_warp[warp][lane] = total;
    __syncthreads();
    if (warp == 0 && cell < n_cells) {
        for (int other = 1; other < n_warps; ++other) total += of_warp[other][lane];
        out[cell] = total;
    }
}

// Adds each cluster's pieces, in their order, to its totals; a block a cluster and THREADS of its
// features.
extern "C" __global__ void __launch_bounds__(THREADS)
merge_pieces(const double* piece_sums, const double* piece_mass, const int* piece_starts,
             int n_features, double* sums, double* mass) {
    int cluster = blockIdx.x, feature = blockIdx.y * THREADS + threadIdx.x;
    int begin = piece_starts[cluster], end = piece_starts[cluster + 1];
    if (feature < n_features) {
        double sum = 0.0;
#pragma unroll 4
        for (int piece = begin; piece < end; ++piece) {
            sum += piece_sums[static_cast<i64>(piece) * n_features + feature];
        }
        sums[static_cast<i64>(cluster) * n_features + feature] += sum;
    }
    if (blockIdx.y > 0) return;
    double weight = 0.0;
    for (int piece = begin + threadIdx.x; piece < end; piece += THREADS) {
        weight += piece_mass[piece];
    }
    weight = block_sum(weight);
    if (threadIdx.x == 0) mass[cluster] += weight;
}

// The signals of each restart, where means_and_signals had several blocks.
extern "C" __global__ void __launch_bounds__(THREADS)
sum_signals(const double* parts, int n_parts, double* signals, STOP) {
    if (has_stopped(before, most_shift, blockIdx.x)) return;  // means_and_signals passed them on
    sum_parts(parts + blockIdx.x * 3ll * n_parts, n_parts, signals + blockIdx.x * 3);
}
