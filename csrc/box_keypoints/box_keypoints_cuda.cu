// A thread per box.
#include "box_keypoints_cuda.h"

namespace bevkd::cuda {
namespace {

constexpr int kThreads = 64;

template <typename T>
__global__ void keypoints_of(const T* boxes, const bool* valid, int64_t count, int64_t width, MapRange map, T* points) {
  const int64_t m = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (m < count) write_keypoints(boxes + m * width, valid[m], map, points + m * 2 * kKeypoints);
}

}  // namespace

template <typename T>
void box_keypoints(const T* boxes, const bool* valid, int64_t count, int64_t width, const MapRange& map, T* points,
                   cudaStream_t stream) {
  BEVKD_LAUNCH(keypoints_of<T>, blocks_for(count, kThreads), kThreads, 0, stream, boxes, valid, count, width, map,
               points);
}

#define BEVKD_INSTANTIATE(T) \
  template void box_keypoints<T>(const T*, const bool*, int64_t, int64_t, const MapRange&, T*, cudaStream_t);
BEVKD_INSTANTIATE(float)
BEVKD_INSTANTIATE(double)

}  // namespace bevkd::cuda
