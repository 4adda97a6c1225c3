// Distances by differences: of assigned rows, and of the candidates of k-means++; and random
// numbers of rows.

#include "common.cu"

// The squared distance of a row to a centroid, in the first of n_lanes threads side by side, a power
// of two and at most a warp. More threads than features add zeros, which change no bit.
template <typename In, typename T>
__device__ __forceinline__ T distance_to(const In* row, const T* origin, const T* centroid,
                                         int n_features, int n_lanes) {
    T sum = 0;
    for (int feature = threadIdx.x % n_lanes; feature < n_features; feature += n_lanes) {
        T value = loaded<T>(row[feature]);
        T difference = (origin ? value - origin[feature] : value) - centroid[feature];
        sum += difference * difference;
    }
    for (int step = n_lanes / 2; step > 0; step /= 2) {
        sum += __shfl_down_sync(FULL_MASK, sum, step);
    }
    return sum;
}

// The squared distance of each row to centroid labels[row], (n_runs, n_points).
template <typename In, typename T>
__global__ void __launch_bounds__(THREADS)
assigned_distances(const In* points, const T* origin, const int* problems, const int* labels,
                   const T* centroids, i64 n_points, int n_features, int n_clusters, int n_lanes,
                   T* out) {
    points += first_row_of(problems, blockIdx.y, n_points, n_features, origin) * n_features;
    labels += blockIdx.y * n_points;
    centroids += blockIdx.y * static_cast<i64>(n_clusters) * n_features;
    out += blockIdx.y * n_points;
    i64 row = (static_cast<i64>(blockIdx.x) * THREADS + threadIdx.x) / n_lanes;
    i64 read = min(row, n_points - 1);  // a warp stays together
    const T* centroid = centroids + static_cast<i64>(labels[read]) * n_features;
    T distance = distance_to(points + read * n_features, origin, centroid, n_features, n_lanes);
    if (row < n_points && threadIdx.x % n_lanes == 0) out[row] = distance;
}

// The weighted sum of such distances over the rows of each block, (n_blocks, n_runs).
template <typename In, typename T>
__global__ void __launch_bounds__(THREADS, 4)
inertia_parts(const In* points, const T* weights, const T* origin, const int* problems,
              const int* labels, const T* centroids, i64 n_points, int n_features, int n_clusters,
              int n_lanes, i64 rows_per_block, double* parts) {
    i64 first_row = first_row_of(problems, blockIdx.y, n_points, n_features, origin);
    labels += blockIdx.y * n_points - first_row;
    centroids += blockIdx.y * static_cast<i64>(n_clusters) * n_features;
    i64 begin = first_row + blockIdx.x * rows_per_block;
    i64 end = min(begin + rows_per_block, first_row + n_points);
    int rows_at_once = THREADS / n_lanes;
    double total = 0.0;
    for (i64 first = begin; first < end; first += rows_at_once) {
        i64 row = first + threadIdx.x / n_lanes;
        i64 read = min(row, end - 1);
        const T* centroid = centroids + static_cast<i64>(labels[read]) * n_features;
        T distance =
            distance_to(points + read * n_features, origin, centroid, n_features, n_lanes);
        if (row < end && threadIdx.x % n_lanes == 0) {
            total += static_cast<double>(distance) * (weights ? weights[row] : 1.0);
        }
    }
    total = block_sum(total);
    if (threadIdx.x == 0) parts[blockIdx.x * static_cast<i64>(gridDim.y) + blockIdx.y] = total;
}

// ---- greedy k-means++: a centre is fold_chosen, draw_candidates and measure_candidates ----
// Centres are numbered from 0. Number 0 is folded in before any other is drawn. The second dimension
// of a grid goes over runs. Each run has its own numbers for rows, blocks and candidates, one run
// after another. Distances that are kept lie candidate by candidate, then run by run, and so do
// chosen centres.

// What one centre leaves for the next, of each run.
struct Seeding {
    int best;    // which candidate of the last centre was chosen
    int step;    // centres chosen so far
    int ticket;  // blocks of measure_candidates that are done
};

// What a row is drawn in proportion to, rounded as the portable body rounds it.
template <typename T>
__device__ __forceinline__ double mass_of(T closest, const T* weights, i64 row) {
    return static_cast<double>(weights ? closest * weights[row] : closest);
}

// closest = min(before, the distances to the candidate that was chosen), which were kept when it
// was one; and the mass of each block of rows. Nothing is folded where nothing was kept. Where it
// is asked for, labels become the nearest centre, -1 while that is none of those here. Without a
// state and without closest, masses are all that is made.
template <typename T>
__global__ void __launch_bounds__(THREADS, 4)
fold_chosen(const T* before, const T* kept, const T* weights, const int* problems,
            const Seeding* state, i64 n_points, i64 rows_per_block, T* closest, int* labels,
            double* block_mass) {
    i64 begin = blockIdx.x * rows_per_block;
    int n_rows = static_cast<int>(min(rows_per_block, n_points - begin));
    i64 first = blockIdx.y * n_points + begin;
    before += first;
    if (closest) closest += first;
    if (kept) kept += state[blockIdx.y].best * static_cast<i64>(gridDim.y) * n_points + first;
    if (weights) weights += begin + (problems ? problems[blockIdx.y] * n_points : 0);
    if (labels) labels += first;
    int chosen = state ? state[blockIdx.y].step : 0;
    double mass = 0.0;
#pragma unroll 2
    for (int row = threadIdx.x; row < n_rows; row += THREADS) {
        T nearest = before[row];
        bool is_nearer = kept && kept[row] < nearest;
        if (is_nearer) nearest = kept[row];
        if (labels && (is_nearer || !kept)) labels[row] = kept ? chosen : -1;
        if (closest) closest[row] = nearest;
        mass += mass_of(nearest, weights, row);
    }
    mass = block_sum(mass);
    if (threadIdx.x == 0) block_mass[blockIdx.y * static_cast<i64>(gridDim.x) + blockIdx.x] = mass;
}

// The row where the running total of the mass first reaches a share of the whole, or exceeds it, and
// its point less the origin, where that is asked for: a block a candidate. First the block of rows
// is found, then the row in it. Of each run there are n_uniforms numbers.
template <typename In, typename T>
__global__ void __launch_bounds__(THREADS)
draw_candidates(const In* points, const T* weights, const T* origin, const int* problems,
                const T* closest, const double* block_mass, int n_blocks, const double* uniforms,
                i64 n_uniforms, int exceeds, i64 n_points, int n_features, i64 rows_per_block,
                Seeding* state, i64* indices, T* candidates) {
    __shared__ double reached[1024];  // as many blocks of rows at most
    __shared__ int found, last;
    i64 first_of_run = first_row_of(problems, blockIdx.y, n_points, n_features, origin);
    points += first_of_run * n_features;
    if (weights) weights += first_of_run;
    i64 run = blockIdx.y, step = 0;
    closest += run * n_points;
    block_mass += run * n_blocks;
    uniforms += run * n_uniforms;
    indices += run * gridDim.x;
    if (state) {
        state += run;
        step = state->step;
    }
    int each = (n_blocks + THREADS - 1) / THREADS;
    int begin = min(static_cast<int>(threadIdx.x) * each, n_blocks);
    int end = min(begin + each, n_blocks);
    double own = 0.0, total;
    if (threadIdx.x == 0) {
        if (state && blockIdx.x == 0) state->ticket = 0;
        found = n_blocks;
        last = 0;
    }
    for (int block = begin; block < end; ++block) own += block_mass[block];
    double running = block_scan(own, total) - own;
    for (int block = begin; block < end; ++block) {
        running += block_mass[block];
        reached[block] = running;
    }
    __syncthreads();
    double threshold = uniforms[step * gridDim.x + blockIdx.x] * reached[n_blocks - 1];
    for (int block = begin; block < end; ++block) {
        bool reaches = exceeds ? reached[block] > threshold : reached[block] >= threshold;
        if (reaches) atomicMin(&found, block);
        if (block_mass[block] > 0.0) atomicMax(&last, block);
    }
    __syncthreads();
    // Rounding may put a threshold at the whole: the last row with mass is meant.
    int block = min(found, last);
    double before = block > 0 ? reached[block - 1] : 0.0;
    i64 first_row = block * rows_per_block;
    int n_rows = static_cast<int>(min(rows_per_block, n_points - first_row));
    __syncthreads();
    if (threadIdx.x == 0) {
        found = n_rows;
        last = 0;
    }
    __syncthreads();
    for (int base = 0; base < n_rows; base += THREADS) {
        int at = base + threadIdx.x;
        double mass = 0.0;
        if (at < n_rows) mass = mass_of(closest[first_row + at], weights, first_row + at);
        double so_far = before + block_scan(mass, total);
        before += total;
        // The sums of a scan differ by rounding: a row without mass reaches nothing by that.
        bool reaches = exceeds ? so_far > threshold && mass > 0.0
                               : so_far >= threshold && (mass > 0.0 || threshold <= 0.0);
        if (at < n_rows && reaches) atomicMin(&found, at);
        if (mass > 0.0) atomicMax(&last, at);
        __syncthreads();
        if (found < n_rows) break;
    }
    i64 row = first_row + (found < n_rows ? found : last);
    if (threadIdx.x == 0) indices[blockIdx.x] = row;
    if (!candidates) return;
    candidates += run * gridDim.x * n_features;
    for (int feature = threadIdx.x; feature < n_features; feature += THREADS) {
        T value = loaded<T>(points[row * n_features + feature]);
        candidates[blockIdx.x * static_cast<i64>(n_features) + feature] =
            origin ? value - origin[feature] : value;
    }
}

// What lets a row be skipped: no candidate is nearer to a row than its nearest centre if it is
// twice as far from that centre as the row is. A quarter of the squared distance of each candidate
// to each centre, less what rounding and underflow may do to all three distances; a warp a centre.
template <typename T>
__global__ void __launch_bounds__(THREADS)
centre_distances(const T* centres, const T* candidates, int n_candidates, int n_features,
                 const Seeding* state, T share, T least, T* quarters) {
    int centre = (blockIdx.x * THREADS + threadIdx.x) / 32;
    if (centre > state->step) return;
    const T* of_centre = centres + static_cast<i64>(centre) * n_features;
    for (int c = 0; c < n_candidates; ++c) {
        T distance = distance_to(of_centre, static_cast<const T*>(nullptr),
                                 candidates + static_cast<i64>(c) * n_features, n_features, 32);
        if (threadIdx.x % 32 == 0) {
            quarters[static_cast<i64>(centre) * n_candidates + c] =
                distance * share - least;
        }
    }
}

// The first candidate whose potential is the smallest, up to rounding; all threads of a block.
template <int L>
__device__ __forceinline__ int best_of(const double* partials, int n_parts, int n_candidates, double slack) {
    __shared__ double sums[THREADS];
    __shared__ int best;
    const int n_groups = THREADS / L;
    int candidate = threadIdx.x % L, group = threadIdx.x / L;
    double sum = 0.0;
    if (candidate < n_candidates) {
#pragma unroll 8
        for (int part = group; part < n_parts; part += n_groups) {
            sum += __ldcg(&partials[static_cast<i64>(part) * n_candidates + candidate]);
        }
    }
    sums[threadIdx.x] = sum;
    for (int step = n_groups / 2; step > 0; step /= 2) {
        __syncthreads();
        if (group < step) sums[threadIdx.x] += sums[threadIdx.x + step * L];
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        double least = sums[0];
        for (int other = 1; other < n_candidates; ++other) least = min(least, sums[other]);
        best = 0;
        while (best < n_candidates - 1 && !(sums[best] <= least * (1.0 + slack))) ++best;
    }
    __syncthreads();
    return best;
}

// One pass over the rows for up to L candidates. Rows pass through shared memory, 128 bytes of
// each at a time, so that neighbours read neighbours; then a thread measures a row. Pointers that are
// not null ask for results. These are the distances to each candidate (for a single candidate, the
// smaller of that and closest), and the weighted sums of min(closest, distance) over a block's rows.
// The block that comes last can also choose the best candidate. With labels of the nearest centre,
// rows to which no candidate is nearer are not read; their sums keep their bits.
template <typename In, typename T, int L>
__global__ void __launch_bounds__(THREADS, L > 4 ? 2 : 4)
measure_candidates(const In* points, const T* weights, const T* origin, const int* problems,
                   const T* closest, const T* candidates, i64 n_points, int n_features,
                   int n_candidates, i64 rows_per_block, T* kept, int keeps_least,
                   double* partials, double slack, const i64* indices, Seeding* state,
                   i64* chosen, T* chosen_points, const int* labels, const T* quarters) {
    const int F = 128 / sizeof(T);
    __shared__ T tile[THREADS * (F + 1)];
    __shared__ unsigned char wanted[THREADS];
    __shared__ T own[F * L];  // feature by feature
    __shared__ double of_warp[THREADS / 32][L];
    double totals[L];
    i64 first_of_run = first_row_of(problems, blockIdx.y, n_points, n_features, origin);
    points += first_of_run * n_features;
    if (weights) weights += first_of_run;
    i64 run = blockIdx.y, n_runs = gridDim.y;
    closest += run * n_points;
    candidates += run * n_candidates * n_features;
    if (kept) kept += run * n_points;
    if (partials) partials += run * gridDim.x * n_candidates;
#pragma unroll
    for (int c = 0; c < L; ++c) totals[c] = 0.0;
    i64 begin = blockIdx.x * rows_per_block;
    i64 end = min(begin + rows_per_block, n_points);
    for (i64 first = begin; first < end; first += THREADS) {
        int n_rows = static_cast<int>(min(end - first, static_cast<i64>(THREADS)));
        int n_wanted = n_rows;
        bool is_wanted = true;
        if (labels) {
            is_wanted = threadIdx.x < n_rows;
            if (is_wanted && labels[first + threadIdx.x] >= 0) {
                T so_far = closest[first + threadIdx.x];
                const T* of_centre =
                    quarters + static_cast<i64>(labels[first + threadIdx.x]) * n_candidates;
                is_wanted = false;
                for (int c = 0; c < n_candidates; ++c) is_wanted |= !(so_far <= of_centre[c]);
            }
            int place = block_scan(is_wanted ? 1 : 0, n_wanted) - 1;
            if (is_wanted) wanted[place] = threadIdx.x;
        }
        T distances[L];
#pragma unroll
        for (int c = 0; c < L; ++c) distances[c] = 0;
        for (int from = 0; from < n_features && n_wanted > 0; from += F) {
            int width = min(n_features - from, F);
            int row_of = width == F ? threadIdx.x / F : threadIdx.x / width;
            int rows_at_once = width == F ? THREADS / F : THREADS / width;
            int feature = threadIdx.x - row_of * width;
            __syncthreads();
            if (row_of < rows_at_once) {
                T shift = origin ? origin[from + feature] : T(0);
                const In* column = points + first * n_features + from + feature;
#pragma unroll 4
                for (int at = row_of; at < n_wanted; at += rows_at_once) {
                    int row = labels ? wanted[at] : at;
                    T value = loaded<T>(column[static_cast<i64>(row) * n_features]);
                    tile[at * (F + 1) + feature] = value - shift;
                }
            }
            for (int cell = threadIdx.x; cell < width * L; cell += THREADS) {
                int c = cell % L, of = from + cell / L;
                own[cell] = c < n_candidates ? candidates[c * n_features + of] : T(0);
            }
            __syncthreads();
            if (threadIdx.x >= n_wanted) continue;
            const T* row = tile + threadIdx.x * (F + 1);
#pragma unroll 2  // more makes doubles spill registers
            for (int of = 0; of < width; ++of) {
                T value = row[of];
#pragma unroll
                for (int c = 0; c < L; ++c) {
                    T difference = value - own[of * L + c];
                    distances[c] += difference * difference;
                }
            }
        }
        if (labels) {  // each thread goes on with the row of its number
            __syncthreads();
            if (threadIdx.x < n_wanted) {
#pragma unroll
                for (int c = 0; c < L; ++c) {
                    tile[c * THREADS + wanted[threadIdx.x]] = distances[c];
                }
            }
            __syncthreads();
#pragma unroll
            for (int c = 0; c < L; ++c) {
                distances[c] = is_wanted ? tile[c * THREADS + threadIdx.x]
                                         : static_cast<T>(__int_as_float(0x7f800000));
            }
            __syncthreads();
        }
        if (threadIdx.x < n_rows) {
            i64 row = first + threadIdx.x;
            T so_far = closest[row];
            double weight = weights ? weights[row] : 1.0;
#pragma unroll
            for (int c = 0; c < L; ++c) {
                T nearer = min(distances[c], so_far);
                totals[c] += weight * nearer;
                if (kept && c < n_candidates) {
                    kept[c * n_runs * n_points + row] = keeps_least ? nearer : distances[c];
                }
            }
        }
    }
    if (!partials) return;
#pragma unroll
    for (int c = 0; c < L; ++c) {
        double total = warp_sum(totals[c]);
        if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32][c] = total;
    }
    __syncthreads();
    if (threadIdx.x < n_candidates) {
        double total = 0.0;
        for (int warp = 0; warp < THREADS / 32; ++warp) total += of_warp[warp][threadIdx.x];
        partials[blockIdx.x * static_cast<i64>(n_candidates) + threadIdx.x] = total;
    }
    if (!state) return;
    state += run;
    if (!is_last(&state->ticket, gridDim.x)) return;
    int best = best_of<L>(partials, gridDim.x, n_candidates, slack);
    i64 step = state->step, place = step * n_runs + run;
    for (int feature = threadIdx.x; feature < n_features; feature += THREADS) {
        chosen_points[place * n_features + feature] = candidates[best * n_features + feature];
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        chosen[place] = indices[run * n_candidates + best];
        state->best = best;
        state->step = step + 1;
    }
}

// ---- random numbers of rows: Philox4x64-10 (Salmon et al., SC 2011), as NumPy makes them ----

// Word row % 4 of the block whose counter is (row / 4 + 1, stream, 0, 0): NumPy counts, then
// makes the block.
extern "C" __global__ void __launch_bounds__(THREADS)
philox_uniforms(i64 start, i64 n_points, unsigned long long key0, unsigned long long key1,
                unsigned long long stream, double* out) {
    i64 at = static_cast<i64>(blockIdx.x) * THREADS + threadIdx.x;
    if (at >= n_points) return;
    unsigned long long row = start + at;
    unsigned long long c0 = row / 4 + 1, c1 = stream, c2 = 0, c3 = 0;
    for (int round = 0; round < 10; ++round) {
        const unsigned long long m0 = 0xD2E7470EE14C6C93ull, m1 = 0xCA5A826395121157ull;
        unsigned long long high0 = __umul64hi(m0, c0), low0 = m0 * c0;
        unsigned long long high1 = __umul64hi(m1, c2), low1 = m1 * c2;
        c0 = high1 ^ c1 ^ key0;
        c1 = low1;
        c2 = high0 ^ c3 ^ key1;
        c3 = low0;
        key0 += 0x9E3779B97F4A7C15ull;
        key1 += 0xBB67AE8584CAA73Bull;
    }
    unsigned long long word = row % 4 == 0 ? c0 : row % 4 == 1 ? c1 : row % 4 == 2 ? c2 : c3;
    out[at] = static_cast<double>(word >> 11) * (1.0 / 9007199254740992.0);
}
