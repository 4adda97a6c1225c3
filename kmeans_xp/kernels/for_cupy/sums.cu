// Weighted sums of the rows of each cluster, and the centroids that follow from them.

// out[cell] = sum over parts of partials[part, cell], in a fixed order: the lanes of a warp lie
// across cells, and the warps of a block across parts.
extern "C" __global__ void __launch_bounds__(1024)
merge_parts(const double* partials, i64 n_parts, i64 n_cells, double* out) {
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

// ---- rows in the order of their labels ----

#define CHUNK_BITS 12
#define DIGIT_BITS 6
#define N_DIGITS (1 << DIGIT_BITS)
#define SORTING 512  // threads
#define N_ROUNDS ((1 << CHUNK_BITS) / SORTING)

// Sorts the rows of each chunk by their labels, a block a chunk: digit by digit, each pass stable,
// so that a row's place follows from the labels alone. The last block cuts each cluster's rows
// into pieces, at least one, since an empty cluster has a total too. counts are zero before, and
// so is the ticket behind them.
extern "C" __global__ void __launch_bounds__(SORTING)
sort_chunks(const int* labels, int n_rows, int n_clusters, int chunk_bits, int rows_per_piece,
            unsigned short* order, unsigned short* run_starts, int* counts, int* piece_starts) {
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
    unsigned short* runs = run_starts + blockIdx.x * (n_clusters + 1ll);
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
        runs[cluster] = bounds[0];
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

// The parts of all clusters, (n_parts, 3), added up by a block of THREADS threads or more.
__device__ __forceinline__ void sum_parts(const double* parts, int n_parts, double* signals) {
    for (int which = 0; which < 3; ++which) {
        double sum = 0.0;
        for (int part = threadIdx.x; threadIdx.x < THREADS && part < n_parts; part += THREADS) {
            sum += __ldcg(&parts[part * 3ll + which]);
        }
        sum = block_sum(sum);
        if (threadIdx.x == 0) signals[which] = sum;
    }
}

// A warp for THREADS features of a cluster; the second dimension of the grid goes over restarts.
// A single block adds up the signals as well.
template <typename T>
__global__ void __launch_bounds__(1024)
means_and_signals(const double* sums, const double* mass, const T* old, int n_clusters,
                  int n_features, T* centroids, double* parts, double* signals) {
    int lane = threadIdx.x % 32, warp = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
    int n_warps = gridDim.x * blockDim.x / 32;
    int parts_each = (n_features + THREADS - 1) / THREADS;
    int n_parts = n_clusters * parts_each;
    i64 n_cells = static_cast<i64>(n_clusters) * n_features;
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

// The signals of each restart, where means_and_signals had several blocks.
extern "C" __global__ void __launch_bounds__(THREADS)
sum_signals(const double* parts, int n_parts, double* signals) {
    sum_parts(parts + blockIdx.x * 3ll * n_parts, n_parts, signals + blockIdx.x * 3);
}

// ---- sums of the sorted rows ----

// The weighted sums of the pieces. Threads lie across the features, THREADS at most, and then
// across rows. The block that finishes a cluster last adds up its pieces in their order; if there
// are old centroids it makes the new one, and the last of all adds up the signals.
// tickets: one for each cluster and THREADS features, and one more.
template <typename In, typename T>
__global__ void __launch_bounds__(THREADS, 4)
sum_pieces(const In* points, const T* weights, const T* origin, SORTED_ROWS, int n_features,
           int is_first, double* piece_sums, double* piece_mass, int* tickets, double* sums,
           double* mass, const T* old, T* centroids, double* parts, double* signals) {
    SortedRows sorted = OF_SORTED_ROWS;
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
    T shift = origin ? origin[feature] : T(0);
    double sum = 0.0, weight = 0.0;
    int n_rows = for_rows_of(sorted, piece, cluster, [&](const int* rows, int n_listed) {
        if (weights) {
            double own = 0.0;
            if (threadIdx.x < n_listed) own = weights[rows[threadIdx.x]];
            buffer[threadIdx.x] = own;
            weight += own;
            __syncthreads();
        }
        if (row_of >= rows_at_once) return;
        const In* column = points + feature;
#pragma unroll 4
        for (int at = row_of; at < n_listed; at += rows_at_once) {
            T value = loaded<T>(column[static_cast<i64>(rows[at]) * n_features]) - shift;
            sum += weights ? buffer[at] * value : static_cast<double>(value);
        }
    });
    sum = sum_over_rows(sum, buffer, row_of, rows_at_once, width);
    weight = weights ? block_sum(weight) : static_cast<double>(n_rows);
    piece_mass += blockIdx.y * static_cast<i64>(gridDim.x);
    if (threadIdx.x < width) piece_sums[static_cast<i64>(piece) * n_features + feature] = sum;
    if (threadIdx.x == 0) piece_mass[piece] = weight;

    int begin = sorted.piece_starts[cluster], end = sorted.piece_starts[cluster + 1];
    int part = cluster * gridDim.y + blockIdx.y;
    if (!is_last(&tickets[part], end - begin)) return;
    i64 cell = static_cast<i64>(cluster) * n_features + feature;
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
        if (blockIdx.y == 0) mass[cluster] = is_first ? weight : mass[cluster] + weight;
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
    int n_parts = sorted.n_clusters * gridDim.y;
    if (is_last(&tickets[n_parts], n_parts)) sum_parts(parts, n_parts, signals);
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
