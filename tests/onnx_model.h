// An ONNX file read back by the wire format's own rules, and run in plain loops (N,C,H,W) in
// double: what the operators mean by ONNX's text, written without a look at what wrote the file. It
// takes the operators that are exported, no others.
#pragma once
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace fission::testing {

using Sizes = std::vector<std::int64_t>;

// A protobuf message: the values of each field, in their order
struct Proto {
  std::map<int, std::vector<std::uint64_t>> numbers;  // fixed32 too, as its bits
  std::map<int, std::vector<std::string>> strings;    // bytes and nested messages too

  explicit Proto(const std::string& bytes) {
    std::size_t at = 0;
    auto varint = [&] {
      std::uint64_t value = 0;
      for (int shift = 0;; shift += 7) {
        REQUIRE(at < bytes.size());
        const std::uint64_t byte = std::uint8_t(bytes[at++]);
        value |= (byte & 127) << shift;
        if (byte < 128) return value;
        REQUIRE(shift < 63);
      }
    };
    while (at < bytes.size()) {
      const std::uint64_t key = varint();
      const int field = int(key >> 3);
      if ((key & 7) == 0) {
        numbers[field].push_back(varint());
      } else if ((key & 7) == 2) {
        const std::uint64_t size = varint();
        REQUIRE(size <= bytes.size() - at);
        strings[field].push_back(bytes.substr(at, size)), at += size;
      } else {
        REQUIRE((key & 7) == 5);
        REQUIRE(at + 4 <= bytes.size());
        std::uint64_t bits = 0;
        for (int i = 3; i >= 0; i--) bits = bits << 8 | std::uint8_t(bytes[at + std::size_t(i)]);
        numbers[field].push_back(bits), at += 4;
      }
    }
  }
  std::uint64_t number(int field) const {
    REQUIRE(numbers.count(field) == 1);
    REQUIRE(numbers.at(field).size() == 1);
    return numbers.at(field)[0];
  }
  std::string string(int field) const {
    REQUIRE(strings.count(field) == 1);
    REQUIRE(strings.at(field).size() == 1);
    return strings.at(field)[0];
  }
  std::vector<Proto> messages(int field) const {
    std::vector<Proto> all;
    if (strings.count(field))
      for (const std::string& s : strings.at(field)) all.emplace_back(s);
    return all;
  }
  std::vector<std::string> list(int field) const {
    return strings.count(field) ? strings.at(field) : std::vector<std::string>();
  }
  Sizes sizes(int field) const {
    return numbers.count(field) ? Sizes(numbers.at(field).begin(), numbers.at(field).end())
                                : Sizes();
  }
};

struct OnnxTensor {
  Sizes dims;
  std::vector<double> values;
};
inline std::int64_t product(const Sizes& dims) {
  std::int64_t n = 1;
  for (std::int64_t d : dims) n *= d;
  return n;
}

struct OnnxNode {
  std::string operation, name;
  std::vector<std::string> inputs, outputs;
  std::map<std::string, Sizes> sizes;  // attributes of whole numbers
  std::map<std::string, float> reals;
};

struct OnnxModel {
  std::uint64_t ir_version, opset;
  std::string name, producer, domain;
  std::map<std::string, std::string> metadata;
  std::vector<OnnxNode> nodes;
  std::map<std::string, OnnxTensor> initialisers;
  struct Value {
    std::string name;
    std::uint64_t type;
    std::vector<std::string> dims;  // numbers as text, "N"
  };
  std::vector<Value> inputs, outputs;

  explicit OnnxModel(const std::string& bytes) {
    const Proto model(bytes), opset_id(model.string(8)), graph(model.string(7));
    ir_version = model.number(1), producer = model.string(2), domain = opset_id.string(1),
    opset = opset_id.number(2);
    for (const Proto& m : model.messages(14))
      CHECK(metadata.emplace(m.string(1), m.string(2)).second);
    name = graph.string(2);
    for (const Proto& m : graph.messages(1)) nodes.push_back(node_of(m));
    for (const Proto& m : graph.messages(5))
      CHECK(initialisers.emplace(m.string(8), tensor_of(m)).second);
    for (const Proto& m : graph.messages(11)) inputs.push_back(value_of(m));
    for (const Proto& m : graph.messages(12)) outputs.push_back(value_of(m));
  }

  // The output's value; each value is made once, before it is used
  OnnxTensor run(const OnnxTensor& input) const;

 private:
  static OnnxNode node_of(const Proto& m) {
    OnnxNode n{m.string(4), m.string(3), m.list(1), m.list(2), {}, {}};
    for (const Proto& a : m.messages(5)) {
      const std::uint64_t type = a.number(20);  // FLOAT, INT, INTS
      REQUIRE((type == 1 || type == 2 || type == 7));
      if (type == 1) {
        const std::uint32_t bits = std::uint32_t(a.number(2));
        std::memcpy(&n.reals[a.string(1)], &bits, sizeof bits);
      } else {
        n.sizes[a.string(1)] = type == 2 ? Sizes{std::int64_t(a.number(3))} : a.sizes(8);
      }
    }
    return n;
  }
  static OnnxTensor tensor_of(const Proto& m) {
    OnnxTensor t{m.sizes(1), {}};
    const std::string raw = m.string(9);
    const bool wide = m.number(2) == 11;  // DOUBLE; else FLOAT
    REQUIRE((wide || m.number(2) == 1));
    REQUIRE(raw.size() == std::size_t(product(t.dims)) * (wide ? 8 : 4));
    for (std::int64_t i = 0; i < product(t.dims); i++) {
      double d;
      float f;
      if (wide) std::memcpy(&d, raw.data() + 8 * i, 8);
      else std::memcpy(&f, raw.data() + 4 * i, 4), d = f;
      t.values.push_back(d);
    }
    return t;
  }
  static Value value_of(const Proto& m) {
    const Proto type = Proto(m.string(2)), tensor(type.string(1)), shape(tensor.string(2));
    Value v{m.string(1), tensor.number(1), {}};
    for (const Proto& d : shape.messages(1))
      v.dims.push_back(d.numbers.count(1) ? std::to_string(d.number(1)) : d.string(2));
    return v;
  }
};

// x (N,C,H,W), w (O,C/group,K,K)
inline OnnxTensor convolve(const OnnxTensor& x, const OnnxTensor& w, const OnnxNode& node) {
  const std::int64_t k = w.dims[2], stride = node.sizes.at("strides")[0],
                     pad = node.sizes.at("pads")[0], group = node.sizes.at("group")[0];
  CHECK(node.sizes.at("kernel_shape") == Sizes{k, k});
  CHECK(node.sizes.at("strides") == Sizes(2, stride));
  CHECK(node.sizes.at("pads") == Sizes(4, pad));
  const std::int64_t n = x.dims[0], c = x.dims[1], h = x.dims[2], wide = x.dims[3], o = w.dims[0],
                     in = w.dims[1];
  REQUIRE(in * group == c);
  REQUIRE(o % group == 0);
  OnnxTensor y{{n, o, (h + 2 * pad - k) / stride + 1, (wide + 2 * pad - k) / stride + 1}, {}};
  for (std::int64_t b = 0; b < n; b++)
    for (std::int64_t f = 0; f < o; f++)
      for (std::int64_t i = 0; i < y.dims[2]; i++)
        for (std::int64_t j = 0; j < y.dims[3]; j++) {
          double sum = 0;
          for (std::int64_t l = 0; l < in; l++)
            for (std::int64_t p = 0; p < k; p++)
              for (std::int64_t q = 0; q < k; q++) {
                const std::int64_t row = i * stride - pad + p, column = j * stride - pad + q,
                                   from = f / (o / group) * in + l;
                if (row < 0 || row >= h || column < 0 || column >= wide) continue;
                sum += w.values[std::size_t(((f * in + l) * k + p) * k + q)] *
                       x.values[std::size_t(((b * c + from) * h + row) * wide + column)];
              }
          y.values.push_back(sum);
        }
  return y;
}

// y = f(x, channel): channels are the second dimension
template <class F>
OnnxTensor each(OnnxTensor x, F f) {
  std::int64_t plane = 1;
  for (std::size_t d = 2; d < x.dims.size(); d++) plane *= x.dims[d];
  for (std::size_t i = 0; i < x.values.size(); i++)
    x.values[i] = f(x.values[i], std::size_t(std::int64_t(i) / plane % x.dims[1]), i);
  return x;
}

inline OnnxTensor applied(const OnnxNode& n, const std::vector<const OnnxTensor*>& in) {
  const OnnxTensor& x = *in[0];
  auto all = [&](std::size_t i) -> const std::vector<double>& { return in[i]->values; };
  auto arguments = [&](std::size_t count) { REQUIRE(in.size() == count); };
  if (n.operation == "Conv") return arguments(2), convolve(x, *in[1], n);
  if (n.operation == "BatchNormalization") {
    arguments(5);
    for (std::size_t i = 1; i < 5; i++) REQUIRE(in[i]->dims == Sizes{x.dims[1]});
    const double epsilon = n.reals.at("epsilon");
    return each(x, [&](double v, std::size_t c, std::size_t) {
      return all(1)[c] * (v - all(3)[c]) / std::sqrt(all(4)[c] + epsilon) + all(2)[c];
    });
  }
  if (n.operation == "Sigmoid")
    return arguments(1),
           each(x, [](double v, std::size_t, std::size_t) { return 1 / (1 + std::exp(-v)); });
  if (n.operation == "Relu")
    return arguments(1), each(x, [](double v, std::size_t, std::size_t) { return v > 0 ? v : 0; });
  if (n.operation == "Mul" || n.operation == "Add") {
    arguments(2);
    REQUIRE(in[1]->dims == x.dims);
    return each(x, [&](double v, std::size_t, std::size_t i) {
      return n.operation == "Mul" ? v * all(1)[i] : v + all(1)[i];
    });
  }
  if (n.operation == "Sub" || n.operation == "Div") {  // a colour
    arguments(2);
    REQUIRE(in[1]->dims == Sizes{1, x.dims[1], 1, 1});
    return each(x, [&](double v, std::size_t c, std::size_t) {
      return n.operation == "Sub" ? v - all(1)[c] : v / all(1)[c];
    });
  }
  if (n.operation == "GlobalAveragePool") {
    arguments(1);
    OnnxTensor y{{x.dims[0], x.dims[1], 1, 1}, {}};
    const std::size_t plane = std::size_t(x.dims[2] * x.dims[3]);
    for (std::size_t i = 0; i < x.values.size(); i += plane) {
      double sum = 0;
      for (std::size_t j = 0; j < plane; j++) sum += x.values[i + j];
      y.values.push_back(sum / double(plane));
    }
    return y;
  }
  if (n.operation == "Flatten")
    return arguments(1), OnnxTensor{{x.dims[0], product(x.dims) / x.dims[0]}, x.values};
  REQUIRE(n.operation == "Gemm");
  arguments(3);
  REQUIRE(n.sizes.at("transB") == Sizes{1});
  const OnnxTensor& w = *in[1];
  REQUIRE(w.dims[1] == x.dims[1]);
  REQUIRE(in[2]->dims == Sizes{w.dims[0]});
  OnnxTensor y{{x.dims[0], w.dims[0]}, {}};
  for (std::int64_t b = 0; b < x.dims[0]; b++)
    for (std::int64_t o = 0; o < w.dims[0]; o++) {
      double sum = all(2)[std::size_t(o)];
      for (std::int64_t i = 0; i < x.dims[1]; i++)
        sum += x.values[std::size_t(b * x.dims[1] + i)] * w.values[std::size_t(o * x.dims[1] + i)];
      y.values.push_back(sum);
    }
  return y;
}

inline OnnxTensor OnnxModel::run(const OnnxTensor& input) const {
  REQUIRE(inputs.size() == 1);
  REQUIRE(outputs.size() == 1);
  REQUIRE(inputs[0].dims.size() == input.dims.size());
  for (std::size_t d = 0; d < input.dims.size(); d++)
    CHECK((inputs[0].dims[d] == "N" || inputs[0].dims[d] == std::to_string(input.dims[d])));
  std::map<std::string, OnnxTensor> values = initialisers;
  REQUIRE(values.emplace(inputs[0].name, input).second);
  std::map<std::string, int> used;
  for (const OnnxNode& n : nodes) {
    CAPTURE(n.name);
    std::vector<const OnnxTensor*> arguments;
    for (const std::string& name : n.inputs) {
      CAPTURE(name);
      REQUIRE(values.count(name) == 1);
      arguments.push_back(&values.at(name)), used[name]++;
    }
    REQUIRE(n.outputs.size() == 1);
    REQUIRE(values.emplace(n.outputs[0], applied(n, arguments)).second);
  }
  for (const auto& v : values)
    CHECK_MESSAGE((used[v.first] > 0 || v.first == outputs[0].name), v.first, " is used by nobody");
  REQUIRE(values.count(outputs[0].name) == 1);
  const OnnxTensor& y = values.at(outputs[0].name);
  REQUIRE(outputs[0].dims.size() == y.dims.size());
  for (std::size_t d = 0; d < y.dims.size(); d++)
    CHECK((outputs[0].dims[d] == "N" || outputs[0].dims[d] == std::to_string(y.dims[d])));
  return y;
}

}  // namespace fission::testing
