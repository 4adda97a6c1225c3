// The kernels of sparse.py. Rows are the stored numbers of a CSR matrix, their columns, and the places
// where rows begin. Numbers are read as T (float or double). Everything is computed in double, from
// the stored numbers alone. The launch alone decides the order of every sum.

#include "common.cu"

#define EPS 2.220446049250313e-16
#define EPS_FLOAT 1.1920928955078125e-07
#define ROUNDINGS 16.0  // of what is not added number by number
#define INFINITE __longlong_as_double(0x7ff0000000000000LL)

// The sum over a warp, in each of its threads.
__device__ __forceinline__ double warp_total(double value) {
    for (int step = 16; step > 0; step >>= 1) value += __shfl_xor_sync(FULL_MASK, value, step);
    return value;
}

// Of each centroid, which is measured from the origin: what its scores begin with, its square,
// and its square from zero; a block each.
template <typename T>
__global__ void __launch_bounds__(THREADS)
describe_centroids(const T* centroids, const T* origin, int n_features, double* biases,
                   double* sq_norms, double* from_zero) {
    const T* centroid = centroids + static_cast<i64>(blockIdx.x) * n_features;
    double about = 0.0, square = 0.0, whole = 0.0;
    for (int feature = threadIdx.x; feature < n_features; feature += THREADS) {
        double number = centroid[feature];
        double shift = origin ? static_cast<double>(origin[feature]) : 0.0;
        about += number * shift;
        square += number * number;
        whole += (number + shift) * (number + shift);
    }
    about = block_sum(about);
    square = block_sum(square);
    whole = block_sum(whole);
    if (threadIdx.x == 0) {
        biases[blockIdx.x] = -0.5 * square - about;
        sq_norms[blockIdx.x] = square;
        from_zero[blockIdx.x] = whole;
    }
}

// bias + x . c, for one centroid of a panel that holds them feature by feature.
template <typename T>
__device__ __forceinline__ double score_of(const T* numbers, const int* columns, i64 begin,
                                           i64 end, const T* panel, int n_clusters, int cluster,
                                           double bias) {
    double sum = 0.0;
    for (i64 at = begin; at < end; ++at) {
        double there = panel[static_cast<i64>(columns[at]) * n_clusters + cluster];
        sum += static_cast<double>(numbers[at]) * there;
    }
    return sum + bias;
}

// The nearest centroid of each row; n_lanes threads a row, across the centroids.
template <typename T>
__global__ void __launch_bounds__(THREADS)
sparse_labels(const T* numbers, const int* columns, const i64* starts, const T* panel,
              const double* biases, i64 n_points, int n_clusters, int n_lanes, int* labels) {
    i64 thread = static_cast<i64>(blockIdx.x) * THREADS + threadIdx.x;
    i64 row = thread / n_lanes;
    int lane = static_cast<int>(thread % n_lanes);
    double best = -INFINITE;
    int label = 0;
    if (row < n_points) {
        for (int cluster = lane; cluster < n_clusters; cluster += n_lanes) {
            double score = score_of(numbers, columns, starts[row], starts[row + 1], panel,
                                    n_clusters, cluster, biases[cluster]);
            if (score > best) {
                best = score;
                label = cluster;
            }
        }
    }
    for (int step = n_lanes / 2; step > 0; step >>= 1) {
        double other = __shfl_xor_sync(FULL_MASK, best, step);
        int other_label = __shfl_xor_sync(FULL_MASK, label, step);
        if (other > best || (other == best && other_label < label)) {
            best = other;
            label = other_label;
        }
    }
    if (row < n_points && lane == 0) labels[row] = label;
}

// The squared distance of a row to a centroid (none: to the origin), by a warp. It differs from
// the centroid where it has numbers, and in all other features by what the centroid has: the
// square of that from zero less its part under the row. Where rounding could be felt in that,
// the row is measured feature by feature.
template <typename T>
__device__ double measured(const T* numbers, const int* columns, i64 begin, i64 end,
                           const T* origin, const T* centroid, double from_zero, int n_features,
                           bool is_rounded) {
    int lane = threadIdx.x % 32;
    double apart = 0.0, under = 0.0;
    for (i64 at = begin + lane; at < end; at += 32) {
        int column = columns[at];
        T shift = origin ? origin[column] : T(0);
        double there = centroid ? static_cast<double>(centroid[column]) : 0.0;
        // Rounded to the dtype of the rows, as dense rows are: a row may be a centroid.
        double here = is_rounded ? static_cast<double>(numbers[at] - shift)
                                 : static_cast<double>(numbers[at]) - shift;
        apart += (here - there) * (here - there);
        under += (shift + there) * (shift + there);
    }
    apart = warp_total(apart);
    under = warp_total(under);
    double distance = apart + fmax(from_zero - under, 0.0);
    double eps = is_rounded && sizeof(T) == 4 ? EPS_FLOAT : EPS;
    if (distance * eps * (n_features + 3) >= from_zero * EPS * (end - begin + ROUNDINGS)) {
        return distance;
    }
    double sum = 0.0;
    for (int feature = lane; feature < n_features; feature += 32) {
        i64 low = begin, high = end;  // the first number whose column is not before the feature
        while (low < high) {
            i64 middle = (low + high) / 2;
            if (columns[middle] < feature) low = middle + 1; else high = middle;
        }
        T number = low < end && columns[low] == feature ? numbers[low] : T(0);
        T shift = origin ? origin[feature] : T(0);
        double here = is_rounded ? static_cast<double>(number - shift)
                                 : static_cast<double>(number) - shift;
        double difference = here - (centroid ? static_cast<double>(centroid[feature]) : 0.0);
        sum += difference * difference;
    }
    return warp_total(sum);
}

// The squared distance of each row to its centroid; to the origin where there are none. A warp a
// row.
template <typename T>
__global__ void __launch_bounds__(THREADS)
sparse_distances(const T* numbers, const int* columns, const i64* starts, const T* origin,
                 const int* labels, const T* centroids, const double* from_zero, i64 n_points,
                 int n_features, double* out) {
    i64 row = (static_cast<i64>(blockIdx.x) * THREADS + threadIdx.x) / 32;
    if (row >= n_points) return;
    int label = labels ? labels[row] : 0;
    const T* centroid = centroids ? centroids + static_cast<i64>(label) * n_features : 0;
    double distance = measured(numbers, columns, starts[row], starts[row + 1], origin, centroid,
                               from_zero[label], n_features, centroids != 0);
    if (threadIdx.x % 32 == 0) out[row] = distance;
}

// The squared distance of each row to every centroid: |x|^2 - 2 x.c + |c|^2. Rounding could spoil
// that for a nearest centroid that is very near, so its distance is measured by differences. A
// warp takes a row.
template <typename T>
__global__ void __launch_bounds__(THREADS)
sparse_all_distances(const T* numbers, const int* columns, const i64* starts, const T* origin,
                     const T* centroids, const T* panel, const double* biases,
                     const double* from_zero, const double* sq_norms, const double* origin_norm,
                     i64 n_points, int n_features, int n_clusters, T* out) {
    i64 row = (static_cast<i64>(blockIdx.x) * THREADS + threadIdx.x) / 32;
    if (row >= n_points) return;
    i64 begin = starts[row], end = starts[row + 1];
    double own = sq_norms[row], least = INFINITE;
    int nearest = 0;
    for (int cluster = threadIdx.x % 32; cluster < n_clusters; cluster += 32) {
        double score = score_of(numbers, columns, begin, end, panel, n_clusters, cluster,
                                biases[cluster]);
        double distance = fmax(own - 2.0 * score, 0.0);
        out[row * n_clusters + cluster] = distance;
        if (own - 2.0 * score < least) {
            least = own - 2.0 * score;
            nearest = cluster;
        }
    }
    for (int step = 16; step > 0; step >>= 1) {
        double other = __shfl_xor_sync(FULL_MASK, least, step);
        int other_cluster = __shfl_xor_sync(FULL_MASK, nearest, step);
        if (other < least || (other == least && other_cluster < nearest)) {
            least = other;
            nearest = other_cluster;
        }
    }
    double eps = sizeof(T) == 4 ? EPS_FLOAT : EPS;
    double reach = 2.0 * (own + origin_norm[0]) + from_zero[nearest];
    if (least * eps * (n_features + 3) >= reach * EPS * (end - begin + ROUNDINGS)) return;
    double distance = measured(numbers, columns, begin, end, origin,
                               centroids + static_cast<i64>(nearest) * n_features,
                               from_zero[nearest], n_features, true);
    __syncwarp();
    if (threadIdx.x % 32 == 0) out[row * n_clusters + nearest] = distance;
}

// ---- sums of clusters: rows in the order of their labels, a warp a piece of a cluster's ----

// sums are zero before. The columns of a row are different: no two threads meet.
template <typename T>
__global__ void __launch_bounds__(32)
sum_sparse_pieces(const T* numbers, const int* columns, const i64* row_starts, const T* weights,
                  SORTED_ROWS, int n_features, double* sums, double* mass) {
    SortedRows sorted = OF_SORTED_ROWS;
    int piece = blockIdx.x;
    if (piece >= piece_starts[n_clusters]) return;
    double* own = sums + static_cast<i64>(piece) * n_features;
    double total = 0.0;
    for_rows_of(sorted, piece, cluster_of(sorted, piece), [&](const int* rows, int n_rows) {
        for (int at = 0; at < n_rows; ++at) {
            int row = rows[at];
            double weight = weights ? static_cast<double>(weights[row]) : 1.0;
            total += weight;
            i64 end = row_starts[row + 1];
            for (i64 place = row_starts[row] + threadIdx.x; place < end; place += 32) {
                own[columns[place]] += weight * numbers[place];
            }
            __syncwarp();
        }
    });
    if (threadIdx.x == 0) mass[piece] = total;
}

// For some rows: the weighted sums of the stored numbers of each column less the origin's, the sums of
// their squares, and the sums of their weights. The mass of the rows follows. A warp takes a part
// of the rows. out is zero before.
template <typename T>
__global__ void __launch_bounds__(32)
sparse_moments(const T* numbers, const int* columns, const i64* starts, const T* weights,
               const T* origin, i64 n_points, int n_features, i64 rows_per_part, double* out) {
    double* sums = out + blockIdx.x * (3ll * n_features + 1);
    double* squares = sums + n_features;
    double* under = squares + n_features;
    i64 begin = blockIdx.x * rows_per_part;
    i64 end = min(begin + rows_per_part, n_points);
    double total = 0.0;
    for (i64 row = begin; row < end; ++row) {
        double weight = weights ? static_cast<double>(weights[row]) : 1.0;
        total += weight;
        for (i64 place = starts[row] + threadIdx.x; place < starts[row + 1]; place += 32) {
            int column = columns[place];
            double number = numbers[place];
            if (origin) number -= origin[column];
            sums[column] += weight * number;
            squares[column] += weight * number * number;
            under[column] += weight;
        }
        __syncwarp();
    }
    if (threadIdx.x == 0) under[n_features] = total;
}

// ---- k-means++ ----

// |x|^2 - 2 x.c + |c|^2, 0 where it may be nothing but rounding: a row that is equal to one that
// was chosen must not be drawn again.
__device__ __forceinline__ double expanded(double score, double own, double of_candidate,
                                           i64 n_numbers, bool is_double) {
    double eps = (0.5 * n_numbers + 4.0) * EPS + (is_double ? 0.0 : EPS_FLOAT * EPS_FLOAT);
    double distance = own - 2.0 * score;
    return distance > eps * (own + of_candidate) ? distance : 0.0;
}

// For up to 32 candidates at once, a thread of a warp each: the weighted sum of min(closest,
// squared distance) over the rows of a block.
template <typename T>
__global__ void __launch_bounds__(THREADS)
sparse_potentials(const T* numbers, const int* columns, const i64* starts, const T* weights,
                  const T* closest, const double* sq_norms, const T* panel, const double* biases,
                  const double* of_candidates, i64 n_points, int n_candidates, i64 rows_per_block,
                  double* partials) {
    __shared__ double of_warp[THREADS / 32][32];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    i64 begin = blockIdx.x * rows_per_block;
    i64 end = min(begin + rows_per_block, n_points);
    double total = 0.0;
    if (lane < n_candidates) {
        for (i64 row = begin + warp; row < end; row += THREADS / 32) {
            double score = score_of(numbers, columns, starts[row], starts[row + 1], panel,
                                    n_candidates, lane, biases[lane]);
            double distance = expanded(score, sq_norms[row], of_candidates[lane],
                                       starts[row + 1] - starts[row], sizeof(T) == 8);
            double weight = weights ? static_cast<double>(weights[row]) : 1.0;
            total += weight * fmin(distance, static_cast<double>(closest[row]));
        }
    }
    of_warp[warp][lane] = total;
    __syncthreads();
    if (threadIdx.x < n_candidates) {
        total = 0.0;
        for (int other = 0; other < THREADS / 32; ++other) total += of_warp[other][threadIdx.x];
        partials[static_cast<i64>(blockIdx.x) * n_candidates + threadIdx.x] = total;
    }
}

// min(closest, squared distance to the one candidate); a warp a row.
template <typename T>
__global__ void __launch_bounds__(THREADS)
sparse_fold(const T* numbers, const int* columns, const i64* starts, const T* closest,
            const double* sq_norms, const T* candidate, const double* bias,
            const double* of_candidate, i64 n_points, T* out) {
    i64 row = (static_cast<i64>(blockIdx.x) * THREADS + threadIdx.x) / 32;
    if (row >= n_points) return;
    double sum = 0.0;
    for (i64 at = starts[row] + threadIdx.x % 32; at < starts[row + 1]; at += 32) {
        sum += static_cast<double>(numbers[at]) * candidate[columns[at]];
    }
    double score = warp_total(sum) + bias[0];
    double distance = expanded(score, sq_norms[row], of_candidate[0], starts[row + 1] - starts[row],
                               sizeof(T) == 8);
    if (threadIdx.x % 32 == 0) out[row] = fmin(distance, static_cast<double>(closest[row]));
}
