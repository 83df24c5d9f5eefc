// Products and convolutions: right ones, and each with one mistake.
#include <cublas_v2.h>
#include <cudnn.h>

#include "tests/cuda/fake/planted.h"

namespace fission::cuda {
namespace {

// ---- cuBLAS: y (4,4) = x (4,8) x (8,4) …

constexpr float one = 1, zero = 0;
struct Product {
  Bench& b;
  cublasHandle_t handle = nullptr;
  explicit Product(Bench& bench) : b(bench) {
    cublasCreate(&handle);
    cublasSetStream(handle, b.stream);
    b.up(b.x, b.stream);
  }
  void run(const float* a, int lda, float* c, const float* beta = &zero) {
    cublasSgemm(handle, CUBLAS_OP_N, CUBLAS_OP_T, 4, 4, 8, &one, a, lda, a, lda, beta, c, 4);
    b.finish();
  }
};
void right_product(Bench& b) {  // x (4,8) column-major: element (i, l) is i + 4 l
  Product p(b);
  p.run(b.x, 4, b.y);
  b.down(b.y, b.stream);
  b.finish();
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 4; j++) {
      float sum = 0;
      for (int l = 0; l < 8; l++) sum += float((i + 4 * l) * (j + 4 * l));
      expect(b.host[i + 4 * j] == sum, "cublasSgemm");
    }
  cublasSgemm(p.handle, CUBLAS_OP_T, CUBLAS_OP_N, 8, 8, 4, &one, b.x, 4, b.x, 4, &zero, b.y,
              8);  // xᵀ x
  b.down(b.y, b.stream);
  b.finish();
  for (int i = 0; i < 8; i++)
    for (int j = 0; j < 8; j++) {
      float sum = 0;
      for (int l = 0; l < 4; l++) sum += float((l + 4 * i) * (l + 4 * j));
      expect(b.host[i + 8 * j] == sum, "cublasSgemm of the transpose");
    }
}
void leading_dimension(Bench& b) { Product(b).run(b.x, 3, b.y); }
void leading_dimension_too_large(Bench& b) { Product(b).run(b.x, 9, b.y); }
void product_of_host(Bench& b) { Product(b).run(b.host, 4, b.y); }
void product_of_garbage(Bench& b) { Product(b).run(b.y, 4, b.x); }
void sum_with_garbage(Bench& b) { Product(b).run(b.x, 4, b.y, &one); }
void product_in_place(Bench& b) { Product(b).run(b.x, 4, b.x); }
void null_handle(Bench& b) { cublasSetStream(nullptr, b.stream); }
void handle_destroyed(Bench& b) {
  Product p(b);
  cublasDestroy(p.handle);
  p.run(b.x, 4, b.y);
}
void handle_of_the_other_library(Bench& b) {
  Product p(b);
  cudnnSetStream(reinterpret_cast<cudnnHandle_t>(p.handle), b.stream);
}
void product_without_stream(Bench& b) {
  cublasHandle_t handle = nullptr;
  cublasCreate(&handle);
  cublasSgemm(handle, CUBLAS_OP_N, CUBLAS_OP_N, 1, 1, 1, &one, b.x, 1, b.x, 1, &zero, b.y, 1);
}

// ---- cuDNN: x (1,3,3,2) with filters (2,2,2,2/groups) gives y (1,2,2,2)

struct Convolved {
  Bench& b;
  cudnnHandle_t handle = nullptr;
  cudnnTensorDescriptor_t xd, yd;
  cudnnFilterDescriptor_t wd;
  cudnnConvolutionDescriptor_t cd;
  int groups;
  Convolved(Bench& bench, int g, int c_group, int out = 2) : b(bench), groups(g) {
    cudnnCreate(&handle);
    cudnnSetStream(handle, b.stream);
    cudnnCreateTensorDescriptor(&xd), cudnnCreateTensorDescriptor(&yd),
        cudnnCreateFilterDescriptor(&wd), cudnnCreateConvolutionDescriptor(&cd);
    cudnnSetTensor4dDescriptor(xd, CUDNN_TENSOR_NHWC, CUDNN_DATA_FLOAT, 1, 2, 3, 3);
    cudnnSetTensor4dDescriptor(yd, CUDNN_TENSOR_NHWC, CUDNN_DATA_FLOAT, 1, 2, out, out);
    cudnnSetFilter4dDescriptor(wd, CUDNN_DATA_FLOAT, CUDNN_TENSOR_NHWC, 2, c_group, 2, 2);
    cudnnSetConvolution2dDescriptor(cd, 0, 0, 1, 1, 1, 1, CUDNN_CROSS_CORRELATION,
                                    CUDNN_DATA_FLOAT);
    cudnnSetConvolutionGroupCount(cd, groups);
    cudnnSetConvolutionMathType(cd, CUDNN_FMA_MATH);
    b.up(b.x, b.stream);
  }
  void forward(const float* x,
               cudnnConvolutionFwdAlgo_t algorithm = CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM) {
    cudnnConvolutionForward(handle, &one, xd, x, wd, b.x + 20, cd, algorithm, nullptr, 0, &zero, yd,
                            b.y);
    b.finish();
  }
};
template <int groups>
void right_convolution(Bench& b) {  // x: 0 … 17; w: 20 … 35
  Convolved c(b, groups, 2 / groups);
  c.forward(b.x);
  b.down(b.y, b.stream);
  b.finish();
  for (int p = 0; p < 2; p++)
    for (int q = 0; q < 2; q++)
      for (int k = 0; k < 2; k++) {
        float sum = 0;
        for (int r = 0; r < 2; r++)
          for (int s = 0; s < 2; s++)
            for (int i = 0; i < 2 / groups; i++)
              sum += float((((p + r) * 3 + q + s) * 2 + (groups == 2 ? k : i)) *
                           (20 + ((k * 2 + r) * 2 + s) * (2 / groups) + i));
        expect(b.host[(p * 2 + q) * 2 + k] == sum, "cudnnConvolutionForward");
      }
}
void wrong_groups(Bench& b) { Convolved(b, 2, 2).forward(b.x); }
void wrong_output(Bench& b) { Convolved(b, 1, 2, 3).forward(b.x); }
void small_workspace(Bench& b) {
  Convolved(b, 1, 2).forward(b.x, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM);
}
void unsupported_algorithm(Bench& b) {
  Convolved(b, 1, 2).forward(b.x, CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD);
}
void convolution_of_garbage(Bench& b) { Convolved(b, 1, 2).forward(b.y + 16); }
void odd_address(Bench& b) { Convolved(b, 1, 2).forward(b.x + 1); }
void null_dnn_handle(Bench& b) { cudnnSetStream(nullptr, b.stream); }

}  // namespace

const std::vector<mistakes::Mistake> mistakes_of_libraries = {
    {"right: products", "", right_product},
    {"right: a convolution", "", right_convolution<1>},
    {"right: a convolution in groups", "", right_convolution<2>},
    {"cublas: a leading dimension smaller than the rows",
     "cublasSgemm: the leading dimension of A is 3", leading_dimension},
    {"cublas: a leading dimension beyond the allocation",
     "A: 268 bytes from byte 0 of an allocation of 256", leading_dimension_too_large},
    {"cublas: a host pointer", "cublasSgemm: A is a host pointer", product_of_host},
    {"cublas: input that nobody wrote", "cublasSgemm: A holds at element 0 what nobody ever wrote",
     product_of_garbage},
    {"cublas: a sum onto what nobody wrote",
     "cublasSgemm: C holds at element 0 what nobody ever wrote", sum_with_garbage},
    {"cublas: a product in place", "C overlaps A or B", product_in_place},
    {"cublas: a null handle", "cublasSetStream: a null handle", null_handle},
    {"cublas: a handle that was destroyed", "cublasSgemm: what is given as a handle is none",
     handle_destroyed},
    {"cublas: no stream", "cublasSgemm: the null stream", product_without_stream},
    {"cudnn: a null handle", "cudnnSetStream: a null handle", null_dnn_handle},
    {"cudnn: the other library's handle", "cudnnSetStream: what is given as a handle is none",
     handle_of_the_other_library},
    {"cudnn: wrong groups", "cudnnConvolutionForward: 2 groups of 2 channels", wrong_groups},
    {"cudnn: a wrong output shape", "cudnnConvolutionForward: dimension H of y is 3", wrong_output},
    {"cudnn: too small a workspace", "a workspace of 0 bytes, where algorithm 1 needs",
     small_workspace},
    {"cudnn: a pointer between two vectors",
     "cudnnConvolutionForward: x is not aligned to 16 bytes", odd_address},
    {"cudnn: an algorithm that does not serve", "algorithm 6 does not serve",
     unsupported_algorithm},
    {"cudnn: input that nobody wrote",
     "cudnnConvolutionForward: x holds at element 0 what nobody ever wrote",
     convolution_of_garbage}};

}  // namespace fission::cuda
