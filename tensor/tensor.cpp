#include "tensor/tensor.h"

#include <ostream>

#include "tensor/backend.h"

namespace fission {

std::size_t size_of(DType type) {
  switch (type) {
    case DType::f64: return 8;
    case DType::u8: return 1;
    case DType::f32:
    case DType::i32: return 4;
  }
  return 0;
}

const char* name_of(DType type) {
  switch (type) {
    case DType::f64: return "f64";
    case DType::u8: return "u8";
    case DType::f32: return "f32";
    case DType::i32: return "i32";
  }
  return "?";
}

Shape::Shape(std::initializer_list<Index> dims) : Shape(std::vector<Index>(dims)) {}
Shape::Shape(const std::vector<Index>& dims) : rank_(int(dims.size())) {
  FISSION_CHECK(dims.size() <= 4, "[shape] rank ", dims.size(), ", at most 4");
  for (int i = 0; i < rank_; i++) {
    FISSION_CHECK(dims[i] >= 0, "[shape] dimension ", i, " is ", dims[i]);
    dims_[i] = dims[i];
  }
}
Index Shape::numel() const {
  Index n = 1;
  for (int i = 0; i < rank_; i++) n *= dims_[i];
  return n;
}
bool Shape::operator==(const Shape& o) const {
  if (rank_ != o.rank_) return false;
  for (int i = 0; i < rank_; i++)
    if (dims_[i] != o.dims_[i]) return false;
  return true;
}
std::string Shape::str() const {
  std::string s = "(";
  for (int i = 0; i < rank_; i++) s += (i ? "," : "") + std::to_string(dims_[i]);
  return s + ")";
}
std::ostream& operator<<(std::ostream& out, const Shape& shape) { return out << shape.str(); }

struct Tensor::Storage {
  Backend& backend;
  void* data;
  Storage(Backend& b, std::size_t bytes) : backend(b), data(b.allocate(bytes)) {}
  ~Storage() { backend.free(data); }
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
};

Tensor::Tensor(Backend& backend, const Shape& shape, DType dtype) : shape_(shape), dtype_(dtype) {
  FISSION_CHECK(backend.supports(dtype), "[tensor] ", backend.name(), " has no ", name_of(dtype));
  storage_ = std::make_shared<Storage>(backend, bytes());
}

Backend& Tensor::backend() const {
  FISSION_CHECK(storage_, "[tensor] a null tensor has no backend");
  return storage_->backend;
}
void* Tensor::data() const {
  FISSION_CHECK(storage_, "[tensor] a null tensor has no data");
  return static_cast<char*>(storage_->data) + offset_;
}

Tensor Tensor::reshape(const Shape& shape) const {
  FISSION_CHECK(shape.numel() == numel(), "[reshape] ", shape_, " to ", shape);
  Tensor t = *this;
  t.shape_ = shape;
  return t;
}
Tensor Tensor::slice(Index first, const Shape& shape) const {
  FISSION_CHECK(first >= 0 && first + shape.numel() <= numel(), "[slice] ", shape, " from element ",
                first, " of ", shape_);
  Tensor t = *this;
  t.offset_ += first * size_of(dtype_);
  t.shape_ = shape;
  return t;
}
Tensor Tensor::clone() const {
  Tensor t = like();
  t.copy_from(*this);
  return t;
}
void Tensor::copy_from(const Tensor& other) {
  FISSION_CHECK(shape_ == other.shape_ && dtype_ == other.dtype_, "[copy] ", name_of(dtype_),
                shape_, " from ", name_of(other.dtype_), other.shape_);
  if (&backend() == &other.backend())
    return backend().copy(data(), other.data(), bytes(), Backend::Direction::device_to_device,
                          Queue::compute);
  std::vector<char> host(bytes());
  other.backend().copy(host.data(), other.data(), bytes(), Backend::Direction::device_to_host,
                       Queue::compute);
  set(host.data(), bytes());
}
Tensor Tensor::to(Backend& b) const {
  Tensor t(b, shape_, dtype_);
  t.copy_from(*this);
  return t;
}
void Tensor::set(const void* host, std::size_t n) {
  FISSION_CHECK(n == bytes(), "[set] ", n, " bytes for ", bytes());
  backend().copy(data(), host, n, Backend::Direction::host_to_device, Queue::compute);
}

std::vector<double> Tensor::to_host() const {
  std::vector<char> raw(bytes());
  backend().copy(raw.data(), data(), bytes(), Backend::Direction::device_to_host, Queue::compute);
  std::vector<double> out(numel());
  auto widen = [&](auto* p) {
    for (Index i = 0; i < numel(); i++) out[i] = double(p[i]);
  };
  switch (dtype_) {
    case DType::f32: widen(reinterpret_cast<const float*>(raw.data())); break;
    case DType::f64: widen(reinterpret_cast<const double*>(raw.data())); break;
    case DType::i32: widen(reinterpret_cast<const std::int32_t*>(raw.data())); break;
    case DType::u8: widen(reinterpret_cast<const std::uint8_t*>(raw.data())); break;
  }
  return out;
}
double Tensor::item() const {
  FISSION_CHECK(numel() == 1, "[item] ", shape_, " has not one element");
  return to_host()[0];
}

Tensor make_real(Backend& backend, const Shape& shape, const std::vector<double>& values,
                 DType real) {
  if (real == DType::f64) return Tensor::from(backend, shape, values);
  FISSION_CHECK(real == DType::f32, "[make_real] ", name_of(real));
  return Tensor::from(backend, shape, std::vector<float>(values.begin(), values.end()));
}

}  // namespace fission
