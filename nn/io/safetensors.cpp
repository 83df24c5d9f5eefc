#include "nn/io/safetensors.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "nn/io/files.h"
#include "tensor/check.h"

namespace fission {
namespace {

using nlohmann::json;

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "the file's numbers are copied as they lie");

constexpr std::uint64_t longest_header = 100'000'000;  // as Python's package has it
const char* const metadata_key = "__metadata__";

template <class T>
constexpr const char* dtype_of();
template <>
constexpr const char* dtype_of<float>() {
  return "F32";
}
template <>
constexpr const char* dtype_of<double>() {
  return "F64";
}
template <>
constexpr const char* dtype_of<std::int64_t>() {
  return "I64";
}
template <>
constexpr const char* dtype_of<std::int32_t>() {
  return "I32";
}
template <>
constexpr const char* dtype_of<std::uint8_t>() {
  return "U8";
}

std::uint64_t size_of_dtype(const std::string& dtype) {  // 0: unknown
  if (dtype == "F64" || dtype == "I64") return 8;
  if (dtype == "F32" || dtype == "I32") return 4;
  return dtype == "U8" ? 1 : 0;
}

[[noreturn]] void refuse(const std::string& path, const std::string& place,
                         const std::string& found, const std::string& expected) {
  user_error(path, ": ", place, ": ", found, ", expected ", expected);
}

// Whatever stood in the file, as one short line of ASCII.
std::string printable(std::string s) {
  constexpr std::size_t longest = 120;
  const bool whole = s.size() <= longest;
  s.resize(std::min(s.size(), longest));
  for (char& c : s)
    if (c < 32 || c > 126) c = '?';
  return whole ? s : s + "...";
}
std::string shown(const json& value) {
  return printable(value.dump(-1, ' ', true, json::error_handler_t::replace));
}
std::string tensor_place(const std::string& name) { return "tensor " + shown(name); }

// bytes of a tensor; false if the product leaves 63 bits
bool bytes_of(const std::string& dtype, const std::vector<std::int64_t>& shape,
              std::uint64_t& bytes) {
  std::int64_t n = std::int64_t(size_of_dtype(dtype));
  for (std::int64_t dim : shape)
    if (dim < 0 || __builtin_mul_overflow(n, dim, &n)) return false;
  bytes = std::uint64_t(n);
  return true;
}

// A first walk over the header that refuses what json::parse accepts silently, a name given twice,
// and any depth; the library's own parser callback would do too, but takes time quadratic in the
// number of tensors.
struct HeaderWalk : json::json_sax_t {
  const std::string& path;
  std::set<std::string> names, fields;
  std::string name;
  int depth = 0;
  explicit HeaderWalk(const std::string& path) : path(path) {}

  bool key(std::string& key) override {
    if (depth == 1) {
      if (!names.insert(key).second)
        refuse(path, tensor_place(key), "named twice in the header", "each name once");
      name = key;
      fields.clear();
    } else if (!fields.insert(key).second) {
      refuse(path, tensor_place(name), shown(key) + " given twice", "each field once");
    }
    return true;
  }
  bool enter(int deepest) {
    if (depth++ > deepest)
      refuse(path, tensor_place(name), "lists or objects within each other",
             "dtype, shape and data_offsets");
    return true;
  }
  bool leave() { return depth-- > 0; }
  bool start_object(std::size_t) override { return enter(1); }
  bool start_array(std::size_t) override { return enter(2); }
  bool end_object() override { return leave(); }
  bool end_array() override { return leave(); }
  bool parse_error(std::size_t read, const std::string&, const json::exception& e) override {
    const std::string what =
        e.what();  // "[json.exception.parse_error.101] parse error at line 1, column 5: …"
    const auto start = what.find(": ");
    refuse(path, text("header, byte ", 7 + read, " of the file"),
           printable(start == std::string::npos ? what : what.substr(start + 2)), "JSON in UTF-8");
  }
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(json::number_integer_t) override { return true; }
  bool number_unsigned(json::number_unsigned_t) override { return true; }
  bool number_float(json::number_float_t, const std::string&) override { return true; }
  bool string(std::string&) override { return true; }
  bool binary(json::binary_t&) override { return true; }
};

json parse_header(const std::string& path, const std::string& header) {
  if (header.empty() || header[0] != '{')
    refuse(path, "header, byte 8 of the file",
           header.empty() ? "nothing" : printable("'" + header.substr(0, 1) + "'"),
           "'{', the start of a JSON object");
  const auto nul = header.find('\0');  // the library takes it for the end
  if (nul != std::string::npos)
    refuse(path, text("header, byte ", 8 + nul, " of the file"), "a zero byte", "JSON in UTF-8");
  HeaderWalk walk(path);
  json::sax_parse(header, &walk);
  return json::parse(header);
}

std::uint64_t whole_number(const std::string& path, const std::string& place, const char* what,
                           const json& value) {
  constexpr std::uint64_t largest = std::numeric_limits<std::int64_t>::max();
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > largest)
    refuse(path, place, text(what, " holds ", shown(value)),
           text("a whole number of 0 to ", largest));
  return value.get<std::uint64_t>();
}

struct Entry {
  std::string name, dtype;
  std::vector<std::int64_t> shape;
  std::uint64_t begin, end;
};

Entry read_entry(const std::string& path, const std::string& name, const json& value,
                 std::uint64_t data_bytes) {
  const std::string place = tensor_place(name);
  if (!value.is_object())
    refuse(path, place, shown(value), "an object of dtype, shape and data_offsets");
  for (const char* field : {"dtype", "shape", "data_offsets"})
    if (!value.contains(field))
      refuse(path, place, text("no ", field), "dtype, shape and data_offsets");
  Entry e{name, "", {}, 0, 0};
  if (!value["dtype"].is_string() || size_of_dtype(value["dtype"].get<std::string>()) == 0)
    refuse(path, place, "dtype " + shown(value["dtype"]), "F32, F64, I64, I32 or U8");
  e.dtype = value["dtype"].get<std::string>();
  const json& shape = value["shape"];
  if (!shape.is_array()) refuse(path, place, "shape " + shown(shape), "a list of whole numbers");
  for (const json& dim : shape)
    e.shape.push_back(std::int64_t(whole_number(path, place, "shape", dim)));
  std::uint64_t bytes = 0;
  if (!bytes_of(e.dtype, e.shape, bytes))
    refuse(path, place, "shape " + shape_text(e.shape), "less than 2^63 bytes of numbers");
  const json& offsets = value["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2)
    refuse(path, place, "data_offsets " + shown(offsets), "[begin, end]");
  e.begin = whole_number(path, place, "data_offsets", offsets[0]);
  e.end = whole_number(path, place, "data_offsets", offsets[1]);
  if (e.begin > e.end)
    refuse(path, place, "data_offsets " + shown(offsets), "a begin that is not after the end");
  if (e.end > data_bytes)
    refuse(path, place, "data_offsets " + shown(offsets),
           text("an end within the file's ", data_bytes, " bytes of data (is the file whole?)"));
  if (e.end - e.begin != bytes)
    refuse(path, place, text("data_offsets ", shown(offsets), ", ", e.end - e.begin, " bytes"),
           text(bytes, " bytes for ", e.dtype, " ", shape_text(e.shape)));
  return e;
}

std::map<std::string, std::string> read_metadata(const std::string& path, const json& value) {
  if (!value.is_object()) refuse(path, metadata_key, shown(value), "an object of strings");
  std::map<std::string, std::string> metadata;
  for (const auto& item : value.items()) {
    if (!item.value().is_string())
      refuse(path, metadata_key, text(shown(item.key()), " is ", shown(item.value())), "a string");
    metadata[item.key()] = item.value().get<std::string>();
  }
  return metadata;
}

template <class T>
std::vector<T> copy_as(const std::vector<std::uint8_t>& bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return values;
}
template <class T>
std::vector<double> doubles(const std::vector<std::uint8_t>& bytes) {
  const std::vector<T> values = copy_as<T>(bytes);
  return std::vector<double>(values.begin(), values.end());
}

}  // namespace

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string s = "(";
  for (std::size_t i = 0; i < shape.size(); i++) s += (i ? "," : "") + std::to_string(shape[i]);
  return printable(s + ")");
}

template <class T>
StoredTensor StoredTensor::of(const std::vector<std::int64_t>& shape,
                              const std::vector<T>& values) {
  StoredTensor t{dtype_of<T>(), shape, std::vector<std::uint8_t>(values.size() * sizeof(T))};
  FISSION_CHECK(t.numel() == std::int64_t(values.size()), "[safetensors] ", values.size(),
                " values for shape ", shape_text(shape));
  if (!values.empty()) std::memcpy(t.bytes.data(), values.data(), t.bytes.size());
  return t;
}
template <class T>
std::vector<T> StoredTensor::values() const {
  FISSION_CHECK(dtype == dtype_of<T>(), "[safetensors] ", dtype, " ", shape_text(shape),
                " read as ", dtype_of<T>());
  return copy_as<T>(bytes);
}
template StoredTensor StoredTensor::of(const std::vector<std::int64_t>&, const std::vector<float>&);
template StoredTensor StoredTensor::of(const std::vector<std::int64_t>&,
                                       const std::vector<double>&);
template StoredTensor StoredTensor::of(const std::vector<std::int64_t>&,
                                       const std::vector<std::int64_t>&);
template StoredTensor StoredTensor::of(const std::vector<std::int64_t>&,
                                       const std::vector<std::int32_t>&);
template StoredTensor StoredTensor::of(const std::vector<std::int64_t>&,
                                       const std::vector<std::uint8_t>&);
template std::vector<float> StoredTensor::values() const;
template std::vector<double> StoredTensor::values() const;
template std::vector<std::int64_t> StoredTensor::values() const;
template std::vector<std::int32_t> StoredTensor::values() const;
template std::vector<std::uint8_t> StoredTensor::values() const;

std::vector<double> StoredTensor::as_doubles() const {
  if (dtype == "F32") return doubles<float>(bytes);
  if (dtype == "F64") return doubles<double>(bytes);
  if (dtype == "I64") return doubles<std::int64_t>(bytes);
  if (dtype == "I32") return doubles<std::int32_t>(bytes);
  FISSION_CHECK(dtype == "U8", "[safetensors] dtype ", dtype);
  return doubles<std::uint8_t>(bytes);
}

std::int64_t StoredTensor::numel() const {
  std::uint64_t total = 0;
  FISSION_CHECK(size_of_dtype(dtype) && bytes_of(dtype, shape, total),
                "[safetensors] no tensor is ", dtype, " ", shape_text(shape));
  return std::int64_t(total / size_of_dtype(dtype));
}

bool has_nan(const StoredTensor& tensor) {
  if (tensor.dtype != "F32" && tensor.dtype != "F64") return false;
  const std::vector<double> values = tensor.as_doubles();
  return std::any_of(values.begin(), values.end(), [](double x) { return std::isnan(x); });
}

const StoredTensor& TensorFile::at(const std::string& name) const {
  const auto found = tensors.find(name);
  if (found == tensors.end()) {
    const std::string first =
        tensors.empty() ? "" : " (the first is " + shown(tensors.begin()->first) + ")";
    refuse(path, tensor_place(name), "missing",
           text("it among the file's ", tensors.size(), " tensors", first));
  }
  return found->second;
}

const StoredTensor& TensorFile::expect(const std::string& name, const std::string& dtype,
                                       const std::vector<std::int64_t>& shape) const {
  const StoredTensor& t = at(name);
  if (t.dtype != dtype || t.shape != shape)
    refuse(path, tensor_place(name), t.dtype + " " + shape_text(t.shape),
           dtype + " " + shape_text(shape));
  return t;
}

const std::string& TensorFile::metadata_at(const std::string& key) const {
  const auto found = metadata.find(key);
  if (found == metadata.end())
    refuse(path, metadata_key, shown(key) + " is missing", "it among the file's metadata");
  return found->second;
}

TensorFile read_safetensors(const std::string& path) {
  FileReader in(path);
  if (in.size() < 8)
    refuse(path, "header length",
           in.size() == 0 ? "the file is empty" : text("the file has ", in.size(), " bytes"),
           "8 bytes of it and a header");
  std::array<std::uint8_t, 8> length;
  in.read(length.data(), 8);
  std::uint64_t header_bytes = 0;
  for (int i = 7; i >= 0; i--) header_bytes = header_bytes << 8 | length[std::size_t(i)];
  if (header_bytes > longest_header)
    refuse(path, "header length", text(header_bytes, " bytes"),
           text("at most ", longest_header, " (is this a safetensors file?)"));
  if (header_bytes > in.size() - 8)
    refuse(path, "header length", text(header_bytes, " bytes"),
           text("at most the ", in.size() - 8, " bytes that follow it"));
  std::string header(header_bytes, '\0');
  in.read(header.data(), header.size());

  TensorFile file;
  file.path = path;
  const std::uint64_t data_bytes = in.size() - 8 - header_bytes;
  const json root = parse_header(path, header);
  std::vector<Entry> entries;
  for (const auto& item : root.items()) {
    if (item.key() == metadata_key) file.metadata = read_metadata(path, item.value());
    else entries.push_back(read_entry(path, item.key(), item.value(), data_bytes));
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  std::uint64_t reached = 0;  // of the data
  for (const Entry& e : entries) {
    if (e.begin < reached)
      refuse(path, tensor_place(e.name),
             text("begins at byte ", e.begin, " of the data, within another tensor"),
             text("byte ", reached));
    if (e.begin > reached)
      refuse(path, tensor_place(e.name),
             text("begins at byte ", e.begin, " of the data, after a hole"),
             text("byte ", reached));
    reached = e.end;
  }
  if (reached < data_bytes)
    refuse(path, text("byte ", 8 + header_bytes + reached, " of the file"),
           text(data_bytes - reached, " bytes after the last tensor"), "the end of the file");
  for (Entry& e : entries) {  // one after the other, as they lie
    StoredTensor& t = file.tensors[e.name];
    t.dtype = e.dtype;
    t.shape = std::move(e.shape);
    t.bytes.resize(e.end - e.begin);
    in.read(t.bytes.data(), t.bytes.size());
  }
  return file;
}

void write_safetensors(const std::string& path, const TensorFile& file) {
  using Item = std::pair<const std::string, StoredTensor>;
  std::vector<const Item*> order;
  for (const Item& item : file.tensors) {
    const StoredTensor& t = item.second;
    FISSION_CHECK(item.first != metadata_key, "[safetensors] ", path, ": no tensor can be named ",
                  metadata_key);
    FISSION_CHECK(std::uint64_t(t.numel()) * size_of_dtype(t.dtype) == t.bytes.size(),
                  "[safetensors] ", path, ": ", item.first, " has ", t.bytes.size(), " bytes for ",
                  t.dtype, " ", shape_text(t.shape));
    order.push_back(&item);
  }
  std::stable_sort(order.begin(), order.end(), [](const Item* a, const Item* b) {
    return size_of_dtype(a->second.dtype) > size_of_dtype(b->second.dtype);
  });
  json root = json::object();
  if (!file.metadata.empty()) root[metadata_key] = file.metadata;
  std::uint64_t offset = 0;
  for (const Item* item : order) {
    const StoredTensor& t = item->second;
    root[item->first] = {{"dtype", t.dtype},
                         {"shape", t.shape},
                         {"data_offsets", {offset, offset + t.bytes.size()}}};
    offset += t.bytes.size();
  }
  std::string header;
  try {
    header = root.dump();
  } catch (const json::exception& e) {
    refuse(path, "header", printable(e.what()), "names and metadata in UTF-8");
  }
  header.resize((header.size() + 7) / 8 * 8, ' ');
  FISSION_CHECK(header.size() <= longest_header, "[safetensors] ", path, ": a header of ",
                header.size(), " bytes");
  std::array<std::uint8_t, 8> length;
  for (int i = 0; i < 8; i++) length[std::size_t(i)] = std::uint8_t(header.size() >> 8 * i);
  write_file_atomically(path, 8 + header.size() + offset, [&](const WriteChunk& write) {
    write(length.data(), length.size());
    write(header.data(), header.size());
    for (const Item* item : order) write(item->second.bytes.data(), item->second.bytes.size());
  });
}

}  // namespace fission
