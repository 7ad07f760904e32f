// CPU kernels: TensorIterator cuts the work into one-dimensional runs and spreads them over threads.
#include <ATen/Dispatch.h>
#include <torch/library.h>

#include "elementwise.h"

// A plain x86-64 build has 128-bit SIMD only, and -march=native would crash on an older machine that
// shares the file system. So each loop is compiled twice and the loader picks by the CPU at hand.
// (Other architectures, Arm's NEON among them, have all they need in their baseline.)
#if defined(__x86_64__) && defined(__gnu_linux__)
#define TORCHMODES_EVERY_CPU __attribute__((target_clones("avx2", "default")))
#else
#define TORCHMODES_EVERY_CPU
#endif

namespace torchmodes {
namespace {

// One run of n elements; strides in bytes, order: result, self, other. Dense operands and a constant
// one (a broadcast column or scalar) are loops that the compiler vectorises; the last loop takes any
// strides.
template <typename scalar_t, typename Operation>
TORCHMODES_EVERY_CPU void run(char** data, const int64_t* strides, int64_t n, Operation operation) {
  constexpr int64_t dense = sizeof(scalar_t);
  auto* out = reinterpret_cast<scalar_t*>(data[0]);
  const auto* a = reinterpret_cast<const scalar_t*>(data[1]);
  const auto* b = reinterpret_cast<const scalar_t*>(data[2]);
  if (strides[0] == dense && strides[1] == dense && strides[2] == dense) {
    for (int64_t i = 0; i < n; ++i) out[i] = operation(a[i], b[i]);
  } else if (strides[0] == dense && strides[1] == dense && strides[2] == 0) {
    const scalar_t constant = *b;
    for (int64_t i = 0; i < n; ++i) out[i] = operation(a[i], constant);
  } else if (strides[0] == dense && strides[1] == 0 && strides[2] == dense) {
    const scalar_t constant = *a;
    for (int64_t i = 0; i < n; ++i) out[i] = operation(constant, b[i]);
  } else {
    for (int64_t i = 0; i < n; ++i) {
      *reinterpret_cast<scalar_t*>(data[0] + i * strides[0]) =
          operation(*reinterpret_cast<const scalar_t*>(data[1] + i * strides[1]),
                    *reinterpret_cast<const scalar_t*>(data[2] + i * strides[2]));
    }
  }
}

template <typename Operation>
at::Tensor kernel(const at::Tensor& self, const at::Tensor& other) {
  RECORD_FUNCTION(Operation::span, std::vector<c10::IValue>({self, other}));
  auto iterator = make_iterator(self, other);
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kHalf, at::kBFloat16, iterator.common_dtype(), "torchmodes_cpu", [&] {
        iterator.for_each([](char** data, const int64_t* strides, int64_t n) {
          run<scalar_t>(data, strides, n, Operation{});
        });
      });
  return iterator.output();
}

}  // namespace

TORCH_LIBRARY_IMPL(torchmodes, CPU, library) {
  library.impl("add", &kernel<Add>);
  library.impl("multiply", &kernel<Multiply>);
}

}  // namespace torchmodes
