// What every source begins with: types, loads, sums over a warp and over a block. Points are
// read as In, computed in T (float or double) and summed in double. Every sum is taken in an
// order that the launch alone decides: no floating-point atomics, so the same input gives the
// same bits.
//
// Row indices are 64-bit wherever n_points can exceed 2^31; within a tile of rows they are int.

typedef long long i64;

#define THREADS 256
#define FULL_MASK 0xffffffffu

struct Half { unsigned short bits; };
struct Bfloat16 { unsigned short bits; };

// No header for half precision: its place differs between CUDA installations.
template <typename T> __device__ __forceinline__ T loaded(float value) { return value; }
template <typename T> __device__ __forceinline__ T loaded(double value) { return value; }
template <typename T> __device__ __forceinline__ T loaded(Half value) {
    float wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(value.bits));
    return wide;
}
template <typename T> __device__ __forceinline__ T loaded(Bfloat16 value) {
    return __int_as_float(static_cast<int>(value.bits) << 16);
}

__device__ __forceinline__ double warp_sum(double value) {
    for (int step = 16; step > 0; step >>= 1) {
        value += __shfl_down_sync(FULL_MASK, value, step);
    }
    return value;
}

// The sum over a block, in thread 0. Threads that add zeros at the end change no bit.
__device__ __forceinline__ double block_sum(double value) {
    __shared__ double of_warp[32];
    value = warp_sum(value);
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
    __syncthreads();
    double total = 0.0;
    if (threadIdx.x == 0) {
        for (int warp = 0; warp < blockDim.x / 32; ++warp) total += of_warp[warp];
    }
    __syncthreads();
    return total;
}

// ---- the arithmetic of scores ----
//
// One arithmetic defines the labels, on every path. x = point - origin is rounded once. The score of
// a centroid starts at |c|^2, which is summed in double in the order of the features and rounded
// once. A chain of fused multiply-adds, x * (-2 c), follows in the order of the features. The
// smallest score wins; among equal scores the first. Only the row and the centroids decide.

// CuPy compiles with -ftz=true, but scores below 1e-38 decide between rows of 1e-20: nothing here
// is flushed to zero.
__device__ __forceinline__ float fused(float a, float b, float c) {
    return __fmaf_ieee_rn(a, b, c);
}
__device__ __forceinline__ double fused(double a, double b, double c) { return fma(a, b, c); }
__device__ __forceinline__ bool is_less(float a, float b) {
    unsigned is;
    asm("set.lt.u32.f32 %0, %1, %2;" : "=r"(is) : "f"(a), "f"(b));
    return is;
}
__device__ __forceinline__ bool is_less(double a, double b) { return a < b; }

__device__ __forceinline__ double widened(double value) { return value; }
__device__ __forceinline__ double widened(float value) {
    double wide;
    asm("cvt.f64.f32 %0, %1;" : "=d"(wide) : "f"(value));
    return wide;
}
__device__ __forceinline__ void narrow(double value, double& to) { to = value; }
__device__ __forceinline__ void narrow(double value, float& to) {
    asm("cvt.rn.f32.f64 %0, %1;" : "=f"(to) : "d"(value));
}

template <typename T>
__device__ __forceinline__ T less(T point, T origin) { return fused(origin, T(-1), point); }
template <typename T>
__device__ __forceinline__ T minus_twice(T centroid) { return fused(centroid, T(-2), T(0)); }

// |c|^2, in the CPU's order.
template <typename T>
__device__ T sq_norm_of(const T* centroid, int n_features) {
    double sum = 0.0;
#pragma unroll 4
    for (int feature = 0; feature < n_features; ++feature) {
        double value = widened(centroid[feature]);
        sum = __dadd_rn(sum, __dmul_rn(value, value));
    }
    T rounded;
    narrow(sum, rounded);
    return rounded;
}

// Rows of many problems lie one after another. Runs are blocks in the last dimension of a grid, and
// problems says whose rows each run takes; where it is null, all runs take the same. Returns the
// index of the first of them; the origin becomes theirs.
template <typename T>
__device__ __forceinline__ i64 first_row_of(const int* problems, int run, i64 n_points,
                                            int n_features, const T*& origin) {
    i64 problem = problems ? problems[run] : 0;
    if (origin) origin += problem * n_features;
    return problem * n_points;
}

// Of several steps in one graph, those after the last of a run do nothing. Where a step follows
// another, `before` are that one's signals, three for each run, and `most_shift` are tolerances.
#define STOP const double *before, const double *most_shift

// Whether the step before moved the centroids by no more than the tolerance, or left a cluster
// without rows. A step that does nothing passes its signals on, so all later steps stop too.
__device__ __forceinline__ bool has_stopped(STOP, int run) {
    return before && (before[3 * run] <= most_shift[run] || before[3 * run + 1] > 0.0);
}

// The sum over the rows_at_once rows that lie across a block, `width` threads each, in the threads
// of the first row.
__device__ __forceinline__ double sum_over_rows(double value, double* buffer, int row,
                                                int rows_at_once, int width) {
    buffer[threadIdx.x] = value;
    int step = 1;
    while (2 * step < rows_at_once) step *= 2;
    for (; step > 0; step /= 2) {
        __syncthreads();
        if (row < step && row + step < rows_at_once) {
            buffer[threadIdx.x] += buffer[threadIdx.x + step * width];
        }
    }
    __syncthreads();
    double sum = buffer[threadIdx.x];
    __syncthreads();
    return sum;
}

// The sum over the threads of a block up to this one; the sum over all of them in total.
template <typename V>
__device__ __forceinline__ V block_scan(V value, V& total) {
    __shared__ V of_warp[32];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, n_warps = blockDim.x / 32;
    for (int step = 1; step < 32; step *= 2) {
        V before = __shfl_up_sync(FULL_MASK, value, step);
        if (lane >= step) value += before;
    }
    if (lane == 31) of_warp[warp] = value;
    __syncthreads();
    V before = 0;
    total = 0;
    for (int other = 0; other < n_warps; ++other) {
        if (other < warp) before += of_warp[other];
        total += of_warp[other];
    }
    __syncthreads();
    return value + before;
}

// Whether this block is the last of n to come here: what the others wrote before is then there
// to read, past the first cache. The ticket is 0 before.
__device__ __forceinline__ bool is_last(int* ticket, int n) {
    __shared__ int number;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) number = atomicAdd(ticket, 1);
    __syncthreads();
    bool last = number == n - 1;
    __syncthreads();
    if (last) __threadfence();
    return last;
}

// The parts of the signals of a step, (n_parts, 3), added up by a block of THREADS threads or more.
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

// ---- rows in the order of their labels ----

// Rows as sort_chunks leaves them: a chunk is 1 << chunk_bits rows, of which order holds the
// places in the chunk, and run_starts (n_chunks x n_clusters + 1) where each cluster begins in
// it. piece_starts[c] is the number of the first piece of cluster c's rows.
struct SortedRows {
    const unsigned short* order;
    const unsigned short* run_starts;
    const int* counts;
    const int* piece_starts;
    int n_chunks, chunk_bits, n_clusters, rows_per_piece;
};
#define SORTED_ROWS                                                                    \
    const unsigned short *order, const unsigned short *run_starts, const int *counts, \
        const int *piece_starts, int n_chunks, int chunk_bits, int n_clusters, int rows_per_piece
#define OF_SORTED_ROWS \
    {order, run_starts, counts, piece_starts, n_chunks, chunk_bits, n_clusters, rows_per_piece}

// Those of one run of several, all of n_rows rows.
__device__ __forceinline__ SortedRows of_run(SortedRows sorted, int run, i64 n_rows) {
    i64 n_starts = run * (sorted.n_clusters + 1ll);
    sorted.order += run * n_rows;
    sorted.run_starts += n_starts * sorted.n_chunks;
    sorted.counts += n_starts;
    sorted.piece_starts += n_starts;
    return sorted;
}

// The last cluster whose first piece is not after this one.
__device__ __forceinline__ int cluster_of(const SortedRows& sorted, int piece) {
    int low = 0, high = sorted.n_clusters;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (sorted.piece_starts[middle] <= piece) low = middle; else high = middle;
    }
    return low;
}

// Calls take(rows, n_rows) with the rows of a piece in their order, at most as many at a time as
// the block has threads; returns how many there are.
template <typename Take>
__device__ __forceinline__ int for_rows_of(const SortedRows& sorted, int piece, int cluster,
                                           Take take) {
    __shared__ int ends[THREADS], places[THREADS], rows[THREADS];
    int first_row = (piece - sorted.piece_starts[cluster]) * sorted.rows_per_piece;
    int end_row = min(first_row + sorted.rows_per_piece, sorted.counts[cluster]);
    int seen = 0;
    for (int first = 0; first < sorted.n_chunks && seen < end_row; first += blockDim.x) {
        int chunk = first + threadIdx.x;
        int begin = 0, length = 0, total;
        if (chunk < sorted.n_chunks) {
            const unsigned short* run =
                sorted.run_starts + chunk * (sorted.n_clusters + 1ll) + cluster;
            begin = run[0];
            length = run[1] - begin;
        }
        int end = block_scan(length, total);
        ends[threadIdx.x] = end;
        places[threadIdx.x] = (chunk << sorted.chunk_bits) + begin - (end - length);
        __syncthreads();
        int from = max(first_row - seen, 0), to = min(end_row - seen, total);
        for (int base = from; base < to; base += blockDim.x) {
            int number = base + threadIdx.x;
            if (number < to) {
                int low = 0, high = blockDim.x - 1;  // the first run that ends after it
                while (low < high) {
                    int middle = (low + high) / 2;
                    if (ends[middle] > number) high = middle; else low = middle + 1;
                }
                int at = places[low] + number;
                int of_chunk = at >> sorted.chunk_bits << sorted.chunk_bits;
                rows[threadIdx.x] = of_chunk + sorted.order[at];
            }
            __syncthreads();
            take(rows, min(static_cast<int>(blockDim.x), to - base));
            __syncthreads();
        }
        seen += total;
        __syncthreads();
    }
    return max(end_row - first_row, 0);
}
