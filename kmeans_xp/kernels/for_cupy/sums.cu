// The new centroids, and sums of sorted rows that make them at once.

#include "common.cu"

// ---- the new centroids, and the three numbers that steer the loop ----

// Signals are added up in one order, whoever does: over the features of a warp, over the warps of
// THREADS features, then over clusters. Products are rounded by themselves for the same reason.
struct Signals {
    double sq_shift, n_empty, explained;
};

template <typename T>
__device__ __forceinline__ Signals mean_of(double sum, double weight, T old, T* centroid) {
    double before = old;
    T mean = weight > 0.0 ? static_cast<T>(sum / weight) : old;
    *centroid = mean;
    double moved = static_cast<double>(mean) - before;
    double gained = __fma_rn(-weight, before, 2.0 * sum);
    return {__dmul_rn(moved, moved), 0.0, __dmul_rn(before, gained)};
}

// The signals of a run that has stopped, and its centroids: other runs go on, and take this one
// along, so that its centroids must stay numbers.
template <typename T>
__device__ __forceinline__ void pass_on(int run, i64 n_numbers, const double* before, const T* old,
                                        T* centroids, double* signals) {
    i64 first = run * n_numbers;
    for (i64 at = blockIdx.x * blockDim.x + threadIdx.x; at < n_numbers;
         at += gridDim.x * blockDim.x) {
        centroids[first + at] = old[first + at];
    }
    if (blockIdx.x == 0 && threadIdx.x < 3) {
        signals[run * 3 + threadIdx.x] = before[run * 3 + threadIdx.x];
    }
}

// A warp for THREADS features of a cluster; the second dimension of the grid goes over restarts.
// A single block adds up the signals as well.
template <typename T>
__global__ void __launch_bounds__(1024)
means_and_signals(const double* sums, const double* mass, const T* old, int n_clusters,
                  int n_features, T* centroids, double* parts, double* signals, STOP) {
    i64 n_cells = static_cast<i64>(n_clusters) * n_features;
    if (has_stopped(before, most_shift, blockIdx.y)) {
        pass_on(blockIdx.y, n_cells, before, old, centroids, signals);
        return;
    }
    int lane = threadIdx.x % 32, warp = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
    int n_warps = gridDim.x * blockDim.x / 32;
    int parts_each = (n_features + THREADS - 1) / THREADS;
    int n_parts = n_clusters * parts_each;
    sums += blockIdx.y * n_cells;
    mass += static_cast<i64>(blockIdx.y) * n_clusters;
    old += blockIdx.y * n_cells;
    centroids += blockIdx.y * n_cells;
    parts += blockIdx.y * 3ll * n_parts;
    for (int part = warp; part < n_parts; part += n_warps) {
        int cluster = part / parts_each;
        int begin = (part - cluster * parts_each) * THREADS;
        int end = min(begin + THREADS, n_features);
        i64 first = static_cast<i64>(cluster) * n_features;
        double weight = mass[cluster];
        Signals total = {0.0, begin == 0 && !(weight > 0.0) ? 1.0 : 0.0, 0.0};
        for (int group = begin; group < end; group += 32) {
            i64 cell = first + group + lane;
            Signals own = {0.0, 0.0, 0.0};
            if (group + lane < end) own = mean_of(sums[cell], weight, old[cell], &centroids[cell]);
            total.sq_shift += warp_sum(own.sq_shift);
            total.explained += warp_sum(own.explained);
        }
        if (lane == 0) {
            parts[part * 3ll] = total.sq_shift;
            parts[part * 3ll + 1] = total.n_empty;
            parts[part * 3ll + 2] = total.explained;
        }
    }
    if (gridDim.x > 1) return;
    __threadfence();
    __syncthreads();
    sum_parts(parts, n_parts, signals + blockIdx.y * 3);
}

// ---- sums of the sorted rows ----

// The weighted sums of the pieces. Threads lie across the features, THREADS at most, and then
// across rows. The block that finishes a cluster last adds up its pieces in their order. If there
// are old centroids, it also makes the new one. The last block of a run adds up the signals.
// tickets: for each run, one for each cluster and THREADS features, and one more. The counts of all
// runs lie before them. The last dimension of the grid goes over runs.
template <typename In, typename T>
__global__ void __launch_bounds__(THREADS, 4)
sum_pieces(const In* points, const T* weights, const T* origin, const int* problems,
           i64 n_points, SORTED_ROWS, int n_features, int is_first, double* piece_sums,
           double* piece_mass, int* tickets, double* sums, double* mass, const T* old,
           T* centroids, double* parts, double* signals, STOP) {
    int run = blockIdx.z;
    if (has_stopped(before, most_shift, run)) {
        i64 n_numbers = static_cast<i64>(n_clusters) * n_features;
        if (blockIdx.y == 0) pass_on(run, n_numbers, before, old, centroids, signals);
        return;
    }
    const SortedRows sorted = of_run(OF_SORTED_ROWS, run, n_points);
    __shared__ double buffer[THREADS];
    __shared__ double of_warp[2][THREADS / 32];
    int n_pieces = sorted.piece_starts[sorted.n_clusters];
    int piece = blockIdx.x;
    if (piece >= n_pieces) return;
    int cluster = cluster_of(sorted, piece);
    int first = blockIdx.y * THREADS;
    int width = min(n_features - first, THREADS);
    int rows_at_once = THREADS / width;
    int row_of = threadIdx.x / width;
    int feature = first + threadIdx.x - row_of * width;
    i64 first_row = first_row_of(problems, run, n_points, n_features, origin);
    T shift = origin ? origin[feature] : T(0);
    double sum = 0.0, weight = 0.0;
    int n_rows = for_rows_of(sorted, piece, cluster, [&](const int* rows, int n_listed) {
        if (weights) {
            double own = 0.0;
            if (threadIdx.x < n_listed) own = weights[first_row + rows[threadIdx.x]];
            buffer[threadIdx.x] = own;
            weight += own;
            __syncthreads();
        }
        if (row_of >= rows_at_once) return;
        const In* column = points + first_row * n_features + feature;
#pragma unroll 4
        for (int at = row_of; at < n_listed; at += rows_at_once) {
            T value = loaded<T>(column[static_cast<i64>(rows[at]) * n_features]) - shift;
            sum += weights ? buffer[at] * value : static_cast<double>(value);
        }
    });
    sum = sum_over_rows(sum, buffer, row_of, rows_at_once, width);
    weight = weights ? block_sum(weight) : static_cast<double>(n_rows);
    piece_sums += run * static_cast<i64>(gridDim.x) * n_features;
    piece_mass += (run * gridDim.y + blockIdx.y) * static_cast<i64>(gridDim.x);
    if (threadIdx.x < width) piece_sums[static_cast<i64>(piece) * n_features + feature] = sum;
    if (threadIdx.x == 0) piece_mass[piece] = weight;

    int begin = sorted.piece_starts[cluster], end = sorted.piece_starts[cluster + 1];
    int part = cluster * gridDim.y + blockIdx.y, n_parts = sorted.n_clusters * gridDim.y;
    tickets += run * (n_parts + 1ll);
    if (!is_last(&tickets[part], end - begin)) return;
    i64 of_all = static_cast<i64>(run) * sorted.n_clusters + cluster;
    i64 cell = of_all * n_features + feature;
    bool is_cell = threadIdx.x < width;
    sum = is_first || !is_cell ? 0.0 : sums[cell];
    if (is_cell) {
#pragma unroll 8
        for (int each = begin; each < end; ++each) {
            sum += __ldcg(&piece_sums[static_cast<i64>(each) * n_features + feature]);
        }
        sums[cell] = sum;
    }
    weight = 0.0;
    for (int each = begin + threadIdx.x; each < end; each += THREADS) {
        weight += __ldcg(&piece_mass[each]);
    }
    weight = block_sum(weight);
    if (threadIdx.x == 0) {
        buffer[0] = weight;
        if (blockIdx.y == 0) mass[of_all] = is_first ? weight : mass[of_all] + weight;
    }
    if (!old) return;  // as where the rows are not the first
    __syncthreads();
    weight = buffer[0];
    Signals moved = {0.0, 0.0, 0.0};
    if (is_cell) moved = mean_of(sum, weight, old[cell], &centroids[cell]);
    double sq_shift = warp_sum(moved.sq_shift), explained = warp_sum(moved.explained);
    if (threadIdx.x % 32 == 0) {
        of_warp[0][threadIdx.x / 32] = sq_shift;
        of_warp[1][threadIdx.x / 32] = explained;
    }
    __syncthreads();
    parts += run * 3ll * n_parts;
    if (threadIdx.x == 0) {
        sq_shift = explained = 0.0;
        for (int warp = 0; warp < (width + 31) / 32; ++warp) {
            sq_shift += of_warp[0][warp];
            explained += of_warp[1][warp];
        }
        parts[part * 3ll] = sq_shift;
        parts[part * 3ll + 1] = blockIdx.y == 0 && !(weight > 0.0) ? 1.0 : 0.0;
        parts[part * 3ll + 2] = explained;
    }
    if (!is_last(&tickets[n_parts], n_parts)) return;
    sum_parts(parts, n_parts, signals + run * 3);
    // The tickets and the counts, which nobody reads any more, for the next step.
    for (int at = threadIdx.x; at <= n_parts; at += THREADS) tickets[at] = 0;
    int n_counts = sorted.n_clusters + 1;
    int* counted = tickets - run * (n_parts + 1ll) - (static_cast<i64>(gridDim.z) - run) * n_counts;
    for (int at = threadIdx.x; at < n_counts; at += THREADS) counted[at] = 0;
}
