// What energies are: each model's marginal against networks really built, its numbers by hand, and
// what it refuses.
#include "split/energy.h"

#include <algorithm>

#include "split/energy_picojoules.h"
#include "split/energy_table.h"
#include "tests/energy_table.h"
#include "tests/near.h"
#include "tests/nn/scratch.h"
#include "tests/small_network.h"

using namespace fission;
using namespace fission::testing;

namespace {
const std::vector<Index> points{1, 4, 9, 64};

struct Table : Scratch {
  std::string path = *this / "table.csv";
  explicit Table(const std::string& contents) { put(path, contents); }
  std::string option() const { return "table:" + path; }
};
double curved(const LayerShape& l) {
  return 1e-3 * std::sqrt(l.macs()) + 0.5;
}  // no bilinear function

std::unique_ptr<Network> built(const Network& like, const std::vector<Index>& widths) {
  NetworkConfig c = like.config();
  c.widths = widths;
  return make_network(c, like.backend(), like.dtype(), 0);
}

const std::string head = "# unit: ms; source: a clock\nkind,kernel,stride,side,in,out,cost\n";
void refused(const std::string& contents, const std::string& part) {
  Table t(contents);
  INFO(contents);
  CHECK_THROWS_WITH_AS(parse_energy(t.option()), doctest::Contains(t.path.c_str()), UserError);
  CHECK_THROWS_WITH_AS(parse_energy(t.option()), doctest::Contains(part.c_str()), UserError);
}
}  // namespace

TEST_CASE(
    "energy: every model's marginal is the cost of a network built with one more channel, minus "
    "now") {
  for (const auto& small : small_models) {
    Small s(machines()[0], Activation::swish, small);
    Table table(table_of(*s.network, points, curved));
    for (const std::string& name : {std::string("exact"), std::string("parameters"),
                                    std::string("picojoules"), table.option()}) {
      EnergyModel model = parse_energy(name);
      std::vector<double> e = marginal_energies(*s.network, model);
      std::vector<Index> widths = s.network->widths();
      REQUIRE(e.size() == widths.size());
      double now = model.cost(*s.network, widths);
      for (std::size_t l = 0; l < widths.size(); l++) {
        INFO(name, " axis ", l);
        widths[l]++;
        auto wider = built(*s.network, widths);
        CHECK(e[l] == model.cost(*wider, wider->widths()) - now);
        if (name == "exact") CHECK(e[l] == wider->macs() - s.network->macs());
        if (name == "parameters")
          CHECK(e[l] == double(wider->parameter_count() - s.network->parameter_count()));
        widths[l]--;
      }
    }
  }
}
TEST_CASE("energy: a network prices any widths as one that is built with them") {
  for (const auto& small : small_models) {
    Small s(machines()[0], Activation::swish, small);
    std::vector<Index> others = small;
    for (std::size_t l = 0; l < others.size(); l++) others[l] = 1 + Index(4 * l) % 9;
    auto other = built(*s.network, others);
    CHECK(s.network->parameter_count(others) == other->parameter_count());
    CHECK(s.network->parameter_count(s.network->widths()) == s.network->parameter_count());
    CHECK(s.network->macs(others) == other->macs());
    for (const char* name : {"exact", "parameters", "picojoules"})
      CHECK(parse_energy(name).cost(*s.network, others) == parse_energy(name).cost(*other, others));
  }
}
TEST_CASE("energy: picojoules are products, DRAM and SRAM, by hand for two layers") {
  // 3×3 of 2 → 4 channels, 8×8 → 4×4; classifier 4 → 5; 100 parameters
  std::vector<LayerShape> layers{{LayerShape::dense, 3, 2, 8, 16, 2, 4},
                                 {LayerShape::linear, 1, 1, 1, 1, 4, 5}};
  Picojoules p = picojoules(layers, 100);
  CHECK(p.arithmetic == near((9 * 2 * 4 * 16 + 4 * 5) * (3.7 + 0.9)).epsilon(1e-15));
  CHECK(p.parameters == 100 * 640);
  CHECK(p.activations == (64 * 2 + 16 * 4 + 4 + 5) * 50);
  CHECK(p.sum() == p.arithmetic + p.parameters + p.activations);
}
TEST_CASE("energy: layers have the side of their input, and that of their output") {
  Small s;  // 16×16
  std::vector<LayerShape> layers = s.network->layer_shapes(s.network->widths());
  CHECK(layers.size() == 28);
  CHECK(layers[0].side == 16);
  CHECK(layers[3].kind == LayerShape::depthwise);
  CHECK(layers[3].side == 16);  // stride 2
  CHECK(layers[3].positions == 64);
  CHECK(layers[4].side == 8);
  CHECK(layers.back().kind == LayerShape::linear);
  CHECK(layers.back().out == 4);
}
TEST_CASE("energy: a table of products gives the products' marginals, between its points too") {
  Small s;
  Table table(table_of(*s.network, points, kilo_macs));
  std::vector<double> exact = marginal_energies(*s.network, parse_energy("exact")),
                      e = marginal_energies(*s.network, parse_energy(table.option()));
  // products are bilinear in the widths; sums of some 30 doubles: 1e-12
  for (std::size_t l = 0; l < e.size(); l++) CHECK(e[l] == near(exact[l] / 1000).epsilon(1e-11));
}
TEST_CASE("energy: a table is bilinear between four points, exact on them, and open at no edge") {
  Table t(head +
          "dense,1,1,8,4,10,1\ndense,1,1,8,8,10,2\n\r\n# "
          "between\ndense,1,1,8,4,20,5\ndense,1,1,8,8,20,10\r\ndepthwise,3,2,8,4,4,1\ndepthwise,3,"
          "2,8,6,6,2\n");
  EnergyTable table = read_energy_table(t.path);
  auto at = [&](Index in, Index out) {
    return table.cost({{LayerShape::dense, 1, 1, 8, 64, in, out}});
  };
  CHECK(at(4, 10) == 1);
  CHECK(at(8, 20) == 10);
  CHECK(at(6, 10) == 1.5);
  CHECK(at(4, 15) == 3);
  CHECK(at(5, 12) ==
        near(0.8 * (0.75 * 1 + 0.25 * 2) + 0.2 * (0.75 * 5 + 0.25 * 10)).epsilon(1e-15));
  CHECK(table.cost({{LayerShape::depthwise, 3, 2, 8, 16, 5, 5}}) == 1.5);
  CHECK(table.unit == "ms");
  CHECK(table.source == "a clock");
  CHECK_THROWS_WITH_AS(at(3, 10), doctest::Contains("3 channels in, 10 out"), UserError);
  CHECK_THROWS_WITH_AS(at(9, 10),
                       doctest::Contains("has 4 to 8 in, 10 to 20 out and is not extrapolated"),
                       UserError);
  CHECK_THROWS_WITH_AS(at(4, 21), doctest::Contains("not extrapolated"), UserError);
  CHECK_THROWS_WITH_AS(table.cost({{LayerShape::depthwise, 3, 2, 8, 16, 7, 7}}),
                       doctest::Contains("has 4 to 6 in and"), UserError);
  CHECK_THROWS_WITH_AS(
      table.cost({{LayerShape::dense, 1, 2, 8, 16, 4, 10}}),
      doctest::Contains("needed: dense 1x1, stride 2, side 8, 4 channels in, 10 out; the file has "
                        "dense 1x1, stride 1, side 8; depthwise"),
      UserError);
}
TEST_CASE(
    "energy: lines of a table that are no such lines are refused with file, line and expectation") {
  const std::string row = "dense,1,1,8,4,10,1\n";
  refused("", "line 0: the file ends");
  refused("kind,kernel\n", "line 1: 'kind,kernel', expected '# unit: UNIT; source:");
  refused("# unit: ; source: a\n", "line 1");
  refused("# unit: ms; source: \n", "line 1");
  refused("# unit: ms; source: a\n", "expected lines of kind,kernel,stride,side,in,out,cost");
  refused("# unit: ms; source: a\n" + row,
          "line 2: 'dense,1,1,8,4,10,1', expected 'kind,kernel,stride,side,in,out,cost'");
  refused(head + "dense,1,1,8,4,10\n", "line 3: 'dense,1,1,8,4,10', expected 7 fields");
  refused(head + row + "dense,1,1,8,4,10,1,\n", "line 4");
  refused(head + "conv,1,1,8,4,10,1\n", "dense, depthwise or linear");
  refused(head + "dense,1,1,0,4,10,1\n", "side to be a whole number");
  refused(head + "dense,1,1,8,4.5,10,1\n", "in to be a whole number");
  refused(head + "dense,1,1,8,4,99999999,1\n", "out to be a whole number");
  for (const char* cost : {"", "x", "1x", "nan", "inf", "-1", "1e999"})
    refused(head + "dense,1,1,8,4,10," + cost + "\n", "line 3");
  refused(head + "depthwise,3,1,8,4,5,1\n", "in = out");
  refused(head + "linear,1,1,2,4,5,1\n", "kernel, stride and side 1");
  refused(head + row + row, "line 4: 'dense,1,1,8,4,10,1', expected each layer once");
  refused(head + row + "dense,1,1,8,5,11,1\n",
          "dense 1x1, stride 1, side 8: no line for in 4, out 11");
  CHECK_THROWS_WITH_AS(parse_energy("table:/no/such/file"), doctest::Contains("/no/such/file"),
                       UserError);
}
TEST_CASE(
    "energy: a table with a byte order mark is read, UTF-16 and other encodings are refused") {
  const std::string row = "dense,1,1,8,4,10,1\n", mark = "\xEF\xBB\xBF";
  CHECK(parse_energy(Table(mark + head + row).option()).unit ==
        parse_energy(Table(head + row).option()).unit);
  refused("\xFF\xFE#", "byte 0: the file is UTF-16, expected text in UTF-8");
  refused("\xFE\xFF#", "UTF-16");
  refused("# unit: \xB5J; source: a\n", "byte 8: no UTF-8");
  refused("# unit: ms; source: a\xED\xA0\x80\n", "byte 21: no UTF-8");
  refused(head + row + "# \xC0\xAF\n", "no UTF-8");
  refused("# unit: ms; source: a\xE2\x82", "byte 21: no UTF-8");
  CHECK(parse_energy(
            Table("# unit: µJ; source: a €\n" + head.substr(head.find('\n') + 1) + row).option())
            .unit == "µJ");
}
TEST_CASE("energy: a table that says another file's costs has another fingerprint") {
  Table a(head + "dense,1,1,8,4,10,1\n"), b(head + "dense,1,1,8,4,10,2\n");
  CHECK(parse_energy(a.option()).fingerprint.size() == 16);
  CHECK(parse_energy(a.option()).fingerprint != parse_energy(b.option()).fingerprint);
}
TEST_CASE("energy: what a table says of itself is one line, and costs that overflow are refused") {
  const std::string rest = head.substr(head.find('\n') + 1) + "dense,1,1,8,4,10,1e308\n";
  Table table("# unit: \x1b[31mms; source: a\x07\n" + rest);
  CHECK(parse_energy(table.option()).unit == "\\x1b[31mms");
  LayerShape layer;
  layer.kind = LayerShape::dense, layer.kernel = layer.stride = 1, layer.side = 8, layer.in = 4,
  layer.out = 10;
  const EnergyTable costs = read_energy_table(table.option().substr(6));
  CHECK(costs.cost({layer}) == 1e308);
  CHECK_THROWS_WITH_AS(costs.cost({layer, layer}), doctest::Contains("add up to inf"), UserError);
  Table least(head + "dense,1,1,8,4,10,5e-324\n");
  CHECK(read_energy_table(least.option().substr(6)).cost({layer}) == 5e-324);
}
TEST_CASE("energy: scales are √ and the natural logarithm, of every model") {
  CHECK(scaled(49, EnergyScale::none) == 49);
  CHECK(scaled(49, EnergyScale::sqrt) == 7);
  CHECK(scaled(std::exp(1.0), EnergyScale::log) == near(1).epsilon(1e-15));
  Small s;
  for (const char* name : {"exact", "paper", "parameters", "picojoules"}) {
    EnergyModel model = parse_energy(name);
    std::vector<double> e = marginal_energies(*s.network, model);
    for (EnergyScale scale : {EnergyScale::none, EnergyScale::sqrt, EnergyScale::log}) {
      std::vector<double> of = scaled_energies(*s.network, model, scale);
      for (std::size_t l = 0; l < e.size(); l++) CHECK(of[l] == scaled(e[l], scale));
    }
    CHECK(scaled_unit(model, EnergyScale::sqrt) == "√" + model.unit);
    CHECK(scaled_unit(model, EnergyScale::log) == "ln " + model.unit);
    CHECK_FALSE(model.source.empty());
  }
  CHECK(marginal_energies(*s.network, parse_energy("paper")) ==
        authors_count(*s.network, s.network->widths()));
}
TEST_CASE(
    "energy: a channel that costs nothing, or whose logarithm is no cost, is refused with axis and "
    "cost") {
  Small s;
  Table flat(table_of(
      *s.network, points, [](const LayerShape&) { return 2.0; }, "ms"));
  CHECK_THROWS_WITH_AS(
      scaled_energies(*s.network, parse_energy(flat.option()), EnergyScale::none),
      doctest::Contains("one more channel on axis L00 (3 now) costs 0 ms; expected more than 0"),
      UserError);
  Table small(table_of(
      *s.network, points, [](const LayerShape& l) { return 1e-6 * l.macs(); }, "ms"));
  CHECK(scaled_energies(*s.network, parse_energy(small.option()), EnergyScale::sqrt).size() == 14);
  CHECK_THROWS_WITH_AS(scaled_energies(*s.network, parse_energy(small.option()), EnergyScale::log),
                       doctest::Contains("expected more than 1"), UserError);
}
TEST_CASE("energy: names are read back, and unknown ones are refused with the known") {
  for (const char* name : {"exact", "paper", "parameters", "picojoules"})
    CHECK(parse_energy(name).name == name);
  for (EnergyScale e : {EnergyScale::none, EnergyScale::sqrt, EnergyScale::log})
    CHECK(parse_energy_scale(name_of(e)) == e);
  for (Matrix m : {Matrix::chain, Matrix::paper}) CHECK(parse_matrix(name_of(m)) == m);
  CHECK_THROWS_WITH_AS(parse_energy("joule"), doctest::Contains("'joule'"), UserError);
  CHECK_THROWS_WITH_AS(parse_energy("table:"), doctest::Contains("table:FILE"), UserError);
  CHECK_THROWS_WITH_AS(
      parse_energy("joule"),
      doctest::Contains(
          "exact (MACs), paper (the authors' count), parameters, picojoules, table:FILE"),
      UserError);
  CHECK_THROWS_WITH_AS(parse_energy_scale("ln"), doctest::Contains("none, sqrt, log"), UserError);
  CHECK_THROWS_WITH_AS(parse_matrix("exact"), doctest::Contains("chain"), UserError);
}
