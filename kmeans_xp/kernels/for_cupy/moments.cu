// Sums of the rows and of their squares, column by column.

#include "common.cu"

// For a block's rows: n_features sums, as many sums of squares, and the number of rows. With weights,
// the same again, weighted. Threads lie across the features, then across rows. So neighbours read
// neighbours even if there are few features. The second dimension of the grid goes over THREADS
// features at a time, the third over problems, whose rows lie one after another.
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
    points += blockIdx.z * n_points * n_features;
    if (weights) weights += blockIdx.z * n_points;
    if (origin) origin += blockIdx.z * static_cast<i64>(n_features);
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
    i64 place = blockIdx.x * static_cast<i64>(gridDim.z) + blockIdx.z;
    double* out = partials + place * (weights ? 2 * n_cells : n_cells);
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

// The mean of the rows, rounded, and three numbers: the mean over the columns of their variance, the
// weighted sum of squares about the mean, and the mass. Each block takes one problem. The moments
// of a problem begin `stride` numbers after those of the problem before it.
template <typename T>
__global__ void __launch_bounds__(THREADS)
rows_spread(const double* plain_mass, const double* plain_sums, const double* plain_squares,
            const double* mass, const double* sums, const double* squares, i64 stride,
            const T* about, int n_features, T* origin, double* numbers) {
    i64 skipped = blockIdx.x * stride;
    i64 first = blockIdx.x * static_cast<i64>(n_features);
    double n_rows = plain_mass[skipped], weight = mass[skipped];
    double variance = 0.0, total = 0.0;
    for (int feature = threadIdx.x; feature < n_features; feature += THREADS) {
        double wide = widened(about[first + feature]);
        double mean = plain_sums[skipped + feature] / n_rows;
        T rounded;
        narrow(wide + mean, rounded);
        origin[first + feature] = rounded;
        // sum w |x - o|^2, where o = about + step: no second pass over the rows.
        double step = widened(rounded) - wide;
        double own = squares[skipped + feature] - 2.0 * step * sums[skipped + feature];
        total += own + weight * step * step;
        variance += plain_squares[skipped + feature] / n_rows - mean * mean;
    }
    variance = block_sum(variance);
    total = block_sum(total);
    if (threadIdx.x > 0) return;
    numbers += blockIdx.x * 3;
    numbers[0] = variance / n_features;
    numbers[1] = total;
    numbers[2] = weight;
}
