// Tensor: contiguous numbers of one type in one backend's memory; copies share the storage.
// It refuses strides, broadcasting and ranks over 4: the method needs none of them.
//
// Dimensions: N images, H height, W width, C channels (I in, O out), K kernel side, G batch-norm
// groups, R rows (neurons), P parameters. Activations lie as (N,H,W,C), dense filters (O,K,K,I),
// depthwise (K,K,C).
#pragma once
#include <array>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "tensor/check.h"
#include "tensor/geometry.h"

namespace fission {

class Backend;

enum class DType { f32, f64, i32, u8 };  // f64 on the reference backend only
std::size_t size_of(DType type);
const char* name_of(DType type);

class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<Index> dims);
  explicit Shape(const std::vector<Index>& dims);
  int rank() const { return rank_; }
  Index operator[](int i) const { return dims_[i]; }
  Index& operator[](int i) { return dims_[i]; }
  Index numel() const;  // 1 for rank 0
  bool operator==(const Shape& o) const;
  bool operator!=(const Shape& o) const { return !(*this == o); }
  std::string str() const;  // "(8,32,32,3)"

 private:
  std::array<Index, 4> dims_{};
  int rank_ = 0;
};
std::ostream& operator<<(std::ostream& out, const Shape& shape);

// What a backend sees: it neither owns nor counts references. data may be null (an output not
// wanted).
struct View {
  void* data = nullptr;
  DType dtype = DType::f32;
  Shape shape;
  explicit operator bool() const { return data != nullptr; }
  Index numel() const { return shape.numel(); }
  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

class Tensor {
 public:
  Tensor() = default;                                                      // null: "no tensor"
  Tensor(Backend& backend, const Shape& shape, DType dtype = DType::f32);  // not initialised
  template <class T>
  static Tensor from(Backend& backend, const Shape& shape,
                     const std::vector<T>& values);  // converts to f32 | i32 | u8 | f64 by T

  explicit operator bool() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  Index dim(int i) const { return shape_[i]; }
  Index numel() const { return shape_.numel(); }
  DType dtype() const { return dtype_; }
  std::size_t bytes() const { return numel() * size_of(dtype_); }
  Backend& backend() const;
  void* data() const;  // the backend's memory: not to be read on the host
  View view() const { return {*this ? data() : nullptr, dtype_, shape_}; }
  operator View() const { return view(); }

  Tensor reshape(const Shape& shape) const;             // same storage, same number of elements
  Tensor slice(Index first, const Shape& shape) const;  // same storage, from element `first`
  Tensor like() const { return Tensor(backend(), shape_, dtype_); }  // not initialised
  Tensor clone() const;
  void copy_from(const Tensor& other);  // same shape and dtype, any two backends
  Tensor to(Backend& backend) const;
  void set(const void* host, std::size_t bytes);  // from host memory, waits
  std::vector<double> to_host() const;            // waits; any dtype, as double
  double item() const;                            // the one element of a tensor of one element
  bool unique() const {
    return storage_.use_count() == 1;
  }  // nobody else sees this storage: it may be overwritten
  bool shares_storage(const Tensor& o) const { return storage_ == o.storage_; }

 private:
  struct Storage;
  std::shared_ptr<Storage> storage_;
  std::size_t offset_ = 0;  // in bytes
  Shape shape_;
  DType dtype_ = DType::f32;
};

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::f64;
};
template <>
struct DTypeOf<std::int32_t> {
  static constexpr DType value = DType::i32;
};
template <>
struct DTypeOf<std::uint8_t> {
  static constexpr DType value = DType::u8;
};

template <class T>
Tensor Tensor::from(Backend& backend, const Shape& shape, const std::vector<T>& values) {
  FISSION_CHECK(Index(values.size()) == shape.numel(), "[tensor] ", values.size(),
                " values for shape ", shape);
  Tensor t(backend, shape, DTypeOf<T>::value);
  t.set(values.data(), values.size() * sizeof(T));
  return t;
}

// numbers as `real` (f32 or f64): what tests and initialisations have are doubles
Tensor make_real(Backend& backend, const Shape& shape, const std::vector<double>& values,
                 DType real);

}  // namespace fission
