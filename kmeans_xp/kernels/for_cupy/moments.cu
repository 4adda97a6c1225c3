// Sums of the rows and of their squares, column by column.

#include "common.cu"

// Of a block's rows: n_features sums, as many sums of squares, and how many rows; if there are
// weights the same again with them. Threads lie across the features, then across rows, so that
// neighbours read neighbours however few features there are; the second dimension of the grid
// goes over THREADS features at a time.
template <typename In, typename T>
__global__ void __launch_bounds__(THREADS)
dense_moments(const In* points, const T* weights, const T* origin, i64 n_points, int n_features,
              i64 rows_per_block, double* partials) {
    __shared__ double buffer[THREADS];
    int first = blockIdx.y * THREADS;
    int width = min(n_features - first, THREADS);
    int rows_at_once = THREADS / width;
    int row_of = threadIdx.x / width;
    int feature = first + threadIdx.x - row_of * width;
    i64 begin = blockIdx.x * rows_per_block;
    i64 end = min(begin + rows_per_block, n_points);
    double sum = 0.0, squares = 0.0, weighted_sum = 0.0, weighted_squares = 0.0, mass = 0.0;
    if (row_of < rows_at_once) {
        T shift = origin ? origin[feature] : T(0);
        const In* at = points + (begin + row_of) * n_features + feature;
        i64 stride = static_cast<i64>(rows_at_once) * n_features;
        if (weights) {
#pragma unroll 2  // more makes doubles spill registers
            for (i64 row = begin + row_of; row < end; row += rows_at_once, at += stride) {
                double value = loaded<T>(*at) - shift;
                double weight = weights[row];
                sum += value;
                squares += value * value;
                weighted_sum += weight * value;
                weighted_squares += weight * value * value;
                mass += weight;
            }
        } else {
#pragma unroll 4
            for (i64 row = begin + row_of; row < end; row += rows_at_once, at += stride) {
                double value = loaded<T>(*at) - shift;
                sum += value;
                squares += value * value;
            }
        }
    }
    int n_cells = 2 * n_features + 1;
    double* out = partials + blockIdx.x * static_cast<i64>(weights ? 2 * n_cells : n_cells);
    bool writes = threadIdx.x < width;
    sum = sum_over_rows(sum, buffer, row_of, rows_at_once, width);
    squares = sum_over_rows(squares, buffer, row_of, rows_at_once, width);
    if (writes) {
        out[feature] = sum;
        out[n_features + feature] = squares;
        if (feature == 0) out[2 * n_features] = static_cast<double>(end - begin);
    }
    if (!weights) return;
    out += n_cells;
    weighted_sum = sum_over_rows(weighted_sum, buffer, row_of, rows_at_once, width);
    weighted_squares = sum_over_rows(weighted_squares, buffer, row_of, rows_at_once, width);
    mass = sum_over_rows(mass, buffer, row_of, rows_at_once, width);
    if (writes) {
        out[feature] = weighted_sum;
        out[n_features + feature] = weighted_squares;
        if (feature == 0) out[2 * n_features] = mass;
    }
}
