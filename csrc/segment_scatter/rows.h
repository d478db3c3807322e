// Walks over points in input order and merges the row of each into the row of its voxel. Included once per instruction
// set, with BEVKD_ROWS the namespace and BEVKD_VECTOR_BYTES the size of a register, hence no include guard and no
// includes. The width never changes a result: channels do not mix.
//
// Input order, although the list of a voxel's points is at hand, because features are then read from first to last:
// following the lists costs a jump to another page for each row and took 1.4 times as long on shuffled points. The
// rows of voxels are jumped to instead; they are fewer, and asked for in time.

namespace bevkd::BEVKD_ROWS {

template <typename T, int W>
struct VectorOf {
  typedef T type __attribute__((vector_size(W * sizeof(T))));
};
template <typename T, int W>
using Vector = typename VectorOf<T, W>::type;

template <typename T, int W>
inline Vector<T, W> load_plain(const void* from) {
  Vector<T, W> lanes;
  std::memcpy(&lanes, from, sizeof(lanes));
  return lanes;
}

// Bits to choose between without rounding.
template <typename T>
using RawOf = std::conditional_t<sizeof(T) == 8, int64_t, std::conditional_t<sizeof(T) == 4, int32_t, int16_t>>;

// W neighbours, widened to the type they are reduced in.
template <typename scalar_t, int W>
struct Load {
  static Vector<scalar_t, W> from(const scalar_t* p) { return load_plain<scalar_t, W>(p); }
};

template <int W>
struct Load<at::BFloat16, W> {
  static Vector<float, W> from(const at::BFloat16* p) {
    return (Vector<float, W>)(__builtin_convertvector(load_plain<uint16_t, W>(p), Vector<uint32_t, W>) << 16);
  }
};

// Exponent and mantissa move into place and the bias of 15 becomes 127; infinity and NaN go up another 112 to 255.
// Below 2^-14 a half is a whole number of 2^-24.
template <int W>
struct Load<at::Half, W> {
  using Bits = Vector<uint32_t, W>;
  static constexpr uint32_t kRebias = 112u << 23;
  static Vector<float, W> from(const at::Half* p) {
    const Bits bits = __builtin_convertvector(load_plain<uint16_t, W>(p), Bits);
    const Bits size = bits & 0x7fff, sign = (bits & 0x8000) << 16;
    const Bits not_finite = (Bits)(size > 0x7bff), tiny = (Bits)(size < 0x400);
    const Bits normal = (size << 13) + kRebias + (not_finite & kRebias);
    const Bits counted = (Bits)(__builtin_convertvector((Vector<int32_t, W>)size, Vector<float, W>) * 0x1p-24f);
    return (Vector<float, W>)(sign | (counted & tiny) | (normal & ~tiny));
  }
};

// Cuts channels into blocks: block.run<W>(c) takes W channels from c on.
template <typename acc_t, typename Block>
inline void for_blocks(int64_t channels, const Block& block) {
  constexpr int kLane = sizeof(acc_t) == 8 ? 8 : 4;  // bytes: halves travel beside numbers or sums of 4
  constexpr int W = BEVKD_VECTOR_BYTES / kLane, kNarrow = 16 / kLane;
  int64_t c = 0;
  for (; c + W <= channels; c += W) block.template run<W>(c);
  if constexpr (W > kNarrow) {
    for (; c + kNarrow <= channels; c += kNarrow) block.template run<kNarrow>(c);
  }
  for (; c < channels; ++c) block.template run<1>(c);
}

template <typename scalar_t>
struct StartSum {
  const scalar_t* row;
  at::opmath_type<scalar_t>* sum;

  template <int W>
  void run(int64_t c) const {
    const auto value = Load<scalar_t, W>::from(row + c);
    std::memcpy(sum + c, &value, sizeof(value));
  }
};

template <typename scalar_t>
struct AddToSum {
  const scalar_t* row;
  at::opmath_type<scalar_t>* sum;

  template <int W>
  void run(int64_t c) const {
    const auto value = load_plain<at::opmath_type<scalar_t>, W>(sum + c) + Load<scalar_t, W>::from(row + c);
    std::memcpy(sum + c, &value, sizeof(value));
  }
};

// A row takes over where it is greater or the first NaN, so that the first of equal ones stays.
template <typename scalar_t>
struct MergeMax {
  using Raw = RawOf<scalar_t>;
  const scalar_t* row;
  scalar_t* best;
  int32_t* winner;
  int32_t point;

  template <int W>
  void run(int64_t c) const {
    const auto value = Load<scalar_t, W>::from(row + c), top = Load<scalar_t, W>::from(best + c);
    const auto takes = (value > top) | ((value != value) & (top == top));
    auto kept = load_plain<Raw, W>(best + c);
    kept = __builtin_convertvector(takes, Vector<Raw, W>) ? load_plain<Raw, W>(row + c) : kept;
    std::memcpy(best + c, &kept, sizeof(kept));
    auto number = load_plain<int32_t, W>(winner + c);
    number = __builtin_convertvector(takes, Vector<int32_t, W>) ? Vector<int32_t, W>{} + point : number;
    std::memcpy(winner + c, &number, sizeof(number));
  }
};

template <typename scalar_t>
struct GiveToWinner {
  using Raw = RawOf<scalar_t>;
  const scalar_t* grad;
  const int32_t* winner;
  int32_t point;
  scalar_t* row;

  template <int W>
  void run(int64_t c) const {
    const auto won = load_plain<int32_t, W>(winner + c) == point;
    const auto given = load_plain<Raw, W>(grad + c) & __builtin_convertvector(won, Vector<Raw, W>);
    std::memcpy(row + c, &given, sizeof(given));
  }
};

inline void prefetch(const void* row, int64_t bytes) {
  for (int64_t b = 0; b < bytes; b += 64) __builtin_prefetch(static_cast<const char*>(row) + b, 1);
}

// Which points to walk over. seen [V] counts the points of each voxel so far.
template <typename scalar_t>
struct Walk {
  const scalar_t* features;  // [N, C]
  const int32_t* voxel;      // [N]
  const int32_t* own;        // [count] ascending
  int64_t count, channels;
  int32_t* seen;
};

constexpr int64_t kAhead = 8;  // points

// sums [V, C]; calls end_chunk(voxel) when the sum of a chunk stands in its row and the next one is to start.
template <typename scalar_t, typename EndChunk>
void walk_sum(const Walk<scalar_t>& w, at::opmath_type<scalar_t>* sums, const EndChunk& end_chunk) {
  using acc_t = at::opmath_type<scalar_t>;
  for (int64_t k = 0; k < w.count; ++k) {
    const int64_t next = w.own[std::min(k + kAhead, w.count - 1)];
    prefetch(sums + w.voxel[next] * w.channels, w.channels * sizeof(acc_t));
    const int64_t v = w.voxel[w.own[k]];
    const scalar_t* row = w.features + w.own[k] * w.channels;
    acc_t* sum = sums + v * w.channels;
    if (w.seen[v] % kChunkPoints != 0) {
      for_blocks<acc_t>(w.channels, AddToSum<scalar_t>{row, sum});
    } else {
      if (w.seen[v] > 0) end_chunk(v);
      for_blocks<acc_t>(w.channels, StartSum<scalar_t>{row, sum});
    }
    ++w.seen[v];
  }
}

// best, winner [V, C]
template <typename scalar_t>
void walk_max(const Walk<scalar_t>& w, scalar_t* best, int32_t* winner) {
  for (int64_t k = 0; k < w.count; ++k) {
    const int64_t next = w.voxel[w.own[std::min(k + kAhead, w.count - 1)]] * w.channels;
    prefetch(best + next, w.channels * sizeof(scalar_t));
    prefetch(winner + next, w.channels * sizeof(int32_t));
    const int32_t point = w.own[k];
    const scalar_t* row = w.features + point * w.channels;
    const int64_t at = w.voxel[point] * w.channels;
    if (w.seen[w.voxel[point]]++ > 0) {
      for_blocks<at::opmath_type<scalar_t>>(w.channels, MergeMax<scalar_t>{row, best + at, winner + at, point});
    } else {
      std::copy_n(row, w.channels, best + at);
      std::fill_n(winner + at, w.channels, point);
    }
  }
}

// grad, winner [V, C] -> rows begin to end of the gradient of features, out [N, C]
template <typename scalar_t>
void walk_max_backward(const scalar_t* grad, const int32_t* winner, const int32_t* voxel, int64_t channels,
                       int64_t begin, int64_t end, scalar_t* out) {
  for (int64_t i = begin; i < end; ++i) {
    const int64_t next = std::max(voxel[std::min(i + kAhead, end - 1)], 0) * channels, at = voxel[i] * channels;
    prefetch(grad + next, channels * sizeof(scalar_t));
    prefetch(winner + next, channels * sizeof(int32_t));
    if (voxel[i] < 0) {
      std::fill_n(out + i * channels, channels, scalar_t(0));
    } else {
      for_blocks<scalar_t>(channels,
                           GiveToWinner<scalar_t>{grad + at, winner + at, static_cast<int32_t>(i), out + i * channels});
    }
  }
}

}  // namespace bevkd::BEVKD_ROWS
