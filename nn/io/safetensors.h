// Named tensors in one safetensors file, as Python's package reads and writes it: an 8-byte header
// length, a JSON header (names, dtypes, shapes, places, and "__metadata__" strings), then the
// numbers, little-endian. It refuses every file that doesn't keep to the format to the byte (holes,
// overlaps, trailing bytes, duplicate names, dtypes but the five below) with one UserError line
// `path: place: what was found, what was expected`.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace fission {

struct StoredTensor {
  std::string dtype;  // F32 F64 I64 I32 U8
  std::vector<std::int64_t> shape;
  std::vector<std::uint8_t> bytes;

  // T is float, double, int64_t, int32_t or uint8_t
  template <class T>
  static StoredTensor of(const std::vector<std::int64_t>& shape, const std::vector<T>& values);
  template <class T>
  std::vector<T> values() const;           // T must be the dtype's own type
  std::vector<double> as_doubles() const;  // any dtype; I64 is rounded beyond 2^53
  std::int64_t numel() const;
};

bool has_nan(const StoredTensor& tensor);  // F32 and F64; asked before a checkpoint is written

struct TensorFile {
  std::string path;  // where it was read from: for the messages
  std::map<std::string, std::string> metadata;
  std::map<std::string, StoredTensor> tensors;

  bool has(const std::string& name) const { return tensors.count(name) != 0; }
  // UserError naming the file and the tensor when it is missing, or of another dtype or shape
  const StoredTensor& at(const std::string& name) const;
  const StoredTensor& expect(const std::string& name, const std::string& dtype,
                             const std::vector<std::int64_t>& shape) const;
  const std::string& metadata_at(const std::string& key) const;
};

TensorFile read_safetensors(const std::string& path);
std::string shape_text(const std::vector<std::int64_t>& shape);  // "(4,3)"

// The same tensors and metadata give the same bytes. Numbers lie by falling size of dtype, then by
// name, so that each is aligned to its size. Written atomically (nn/io/files.h).
void write_safetensors(const std::string& path, const TensorFile& file);

}  // namespace fission
