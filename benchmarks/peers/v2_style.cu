// Lift-splat pooling in the manner of BEVPoolv2 (BEVDet), written anew from its description: points sorted by cell, one
// thread per cell and channel that walks its interval through two indices; backward with one atomic per point and
// channel for the depth, and points sorted by pixel for the feature. Plain C interface, loaded with ctypes.
#include <cuda_runtime.h>

#include <cstdint>

namespace {

constexpr int kBlock = 256;

__global__ void pool(int channels, int64_t intervals, const float* depth, const float* feat, const int32_t* point,
                     const int32_t* pixel, const int32_t* cell, const int32_t* start, const int32_t* length, float* out) {
  const int64_t index = int64_t(blockIdx.x) * kBlock + threadIdx.x;
  const int64_t interval = index / channels, channel = index % channels;
  if (interval >= intervals) return;
  float sum = 0;
  for (int32_t i = start[interval]; i < start[interval] + length[interval]; ++i) {
    sum += depth[point[i]] * feat[int64_t(pixel[i]) * channels + channel];
  }
  out[int64_t(cell[start[interval]]) * channels + channel] = sum;
}

__global__ void depth_gradient(int channels, int64_t points, const float* grad, const float* feat, const int32_t* point,
                               const int32_t* pixel, const int32_t* cell, float* grad_depth) {
  const int64_t index = int64_t(blockIdx.x) * kBlock + threadIdx.x;
  const int64_t i = index / channels, channel = index % channels;
  if (i >= points) return;
  atomicAdd(grad_depth + point[i],
            grad[int64_t(cell[i]) * channels + channel] * feat[int64_t(pixel[i]) * channels + channel]);
}

__global__ void feature_gradient(int channels, int64_t intervals, const float* grad, const float* depth,
                                 const int32_t* point, const int32_t* pixel, const int32_t* cell, const int32_t* start,
                                 const int32_t* length, float* grad_feat) {
  const int64_t index = int64_t(blockIdx.x) * kBlock + threadIdx.x;
  const int64_t interval = index / channels, channel = index % channels;
  if (interval >= intervals) return;
  float sum = 0;
  for (int32_t i = start[interval]; i < start[interval] + length[interval]; ++i) {
    sum += depth[point[i]] * grad[int64_t(cell[i]) * channels + channel];
  }
  grad_feat[int64_t(pixel[start[interval]]) * channels + channel] = sum;
}

unsigned blocks(int64_t threads) { return static_cast<unsigned>((threads + kBlock - 1) / kBlock); }

}  // namespace

extern "C" {

int v2_pool(int channels, int64_t intervals, const float* depth, const float* feat, const int32_t* point,
            const int32_t* pixel, const int32_t* cell, const int32_t* start, const int32_t* length, float* out,
            cudaStream_t stream) {
  if (intervals > 0) {
    pool<<<blocks(intervals * channels), kBlock, 0, stream>>>(channels, intervals, depth, feat, point, pixel, cell,
                                                              start, length, out);
  }
  return cudaGetLastError();
}

int v2_depth_gradient(int channels, int64_t points, const float* grad, const float* feat, const int32_t* point,
                      const int32_t* pixel, const int32_t* cell, float* grad_depth, cudaStream_t stream) {
  if (points > 0) {
    depth_gradient<<<blocks(points * channels), kBlock, 0, stream>>>(channels, points, grad, feat, point, pixel, cell,
                                                                     grad_depth);
  }
  return cudaGetLastError();
}

int v2_feature_gradient(int channels, int64_t intervals, const float* grad, const float* depth, const int32_t* point,
                        const int32_t* pixel, const int32_t* cell, const int32_t* start, const int32_t* length,
                        float* grad_feat, cudaStream_t stream) {
  if (intervals > 0) {
    feature_gradient<<<blocks(intervals * channels), kBlock, 0, stream>>>(channels, intervals, grad, depth, point,
                                                                          pixel, cell, start, length, grad_feat);
  }
  return cudaGetLastError();
}

}  // extern "C"
