#include "split/energy_table.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <sstream>

#include "tensor/check.h"
#include "tensor/hash.h"
#include "tensor/read_file.h"

namespace fission {
namespace {

using Key = std::array<Index, 4>;
const char* kinds[] = {"dense", "depthwise", "linear"};
const char* columns = "kind,kernel,stride,side,in,out,cost";

std::string name_of(const Key& k) {
  return text(kinds[k[0]], " ", k[1], "x", k[1], ", stride ", k[2], ", side ", k[3]);
}
std::string range(const std::vector<Index>& v) {
  return v.size() == 1 ? text(v[0]) : text(v.front(), " to ", v.back());
}

// the interval of `grid` that x is in, and how far: x = (1 − share)·grid[at] + share·grid[at + 1]
struct Place {
  std::size_t at;
  double share;
};
Place place(const std::vector<Index>& grid, Index x) {
  if (x == grid.back()) return {grid.size() - 1, 0};
  std::size_t at = std::size_t(std::upper_bound(grid.begin(), grid.end(), x) - grid.begin()) - 1;
  return {at, double(x - grid[at]) / double(grid[at + 1] - grid[at])};
}
bool within(const std::vector<Index>& grid, Index x) {
  return grid.front() <= x && x <= grid.back();
}

struct Row {
  Key key;
  Index in, out;
  double cost;
};

// refuse: what was expected, to a UserError with the file and the line
template <class Refuse>
Row parse_row(const std::string& line, Refuse refuse) {
  std::vector<std::string> field;
  std::stringstream stream(line);
  for (std::string f; std::getline(stream, f, ',');) field.push_back(f);
  if (field.size() != 7 || line.back() == ',') refuse(text("7 fields: ", columns));
  std::size_t kind = std::size_t(std::find(kinds, kinds + 3, field[0]) - kinds);
  if (kind == 3) refuse("dense, depthwise or linear first");
  Index whole[5];
  const char* names[] = {"kernel", "stride", "side", "in", "out"};
  for (int i = 0; i < 5; i++) {
    const std::string& f = field[std::size_t(i) + 1];
    if (f.empty() || f.size() > 7 || f.find_first_not_of("0123456789") != std::string::npos ||
        std::stoll(f) == 0)
      refuse(text(names[i], " to be a whole number from 1 to 9999999"));
    whole[i] = std::stoll(f);
  }
  Row row{{Index(kind), whole[0], whole[1], whole[2]}, whole[3], whole[4], 0};
  char* end = nullptr;
  row.cost = std::strtod(field[6].c_str(), &end);
  if (field[6].empty() || *end || !std::isfinite(row.cost) || row.cost < 0)
    refuse("cost to be a number from 0 on");
  if (kind == LayerShape::depthwise) {
    if (row.in != row.out) refuse("in = out in a depthwise layer");
    row.out = 1;
  }
  if (kind == LayerShape::linear && (whole[0] != 1 || whole[1] != 1 || whole[2] != 1))
    refuse("kernel, stride and side 1 in a linear layer");
  return row;
}

}  // namespace

EnergyTable read_energy_table(const std::string& path) {
  EnergyTable table;
  const std::string all = read_file(path);
  table.path = path, table.fingerprint = hash_text(hash_bytes(all.data(), all.size()));
  std::map<Key, std::map<std::array<Index, 2>, double>> cells;
  std::istringstream lines(utf8_text(path, all));
  std::string line;
  Index number = 0;
  bool header = false;
  auto refuse = [&](const std::string& expected) {
    user_error(path, ": line ", number, ": '", line.substr(0, 80), "', expected ", expected);
  };
  while (std::getline(lines, line)) {
    number++;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (number == 1) {
      std::size_t semicolon = line.find("; source: ");
      if (line.rfind("# unit: ", 0) != 0 || semicolon == std::string::npos || semicolon <= 8 ||
          line.size() == semicolon + 10)
        refuse("'# unit: UNIT; source: WHERE THE NUMBERS ARE FROM'");
      table.unit = one_line(line.substr(8, semicolon - 8)),
      table.source = one_line(line.substr(semicolon + 10));
    } else if (line.empty() || line[0] == '#') {
      continue;
    } else if (!header) {
      if (line != columns) refuse(text("'", columns, "'"));
      header = true;
    } else {
      Row row = parse_row(line, refuse);
      if (!cells[row.key].insert({{row.in, row.out}, row.cost}).second)
        refuse("each layer once: this one stands above too");
    }
  }
  if (cells.empty())
    user_error(path, ": line ", number, ": the file ends, expected lines of ", columns);
  for (const auto& entry : cells) {
    EnergyTable::Grid& grid = table.grids[entry.first];
    std::set<Index> in, out;
    for (const auto& cell : entry.second) in.insert(cell.first[0]), out.insert(cell.first[1]);
    grid.in.assign(in.begin(), in.end()), grid.out.assign(out.begin(), out.end());
    for (Index i : in)
      for (Index o : out) {
        auto cell = entry.second.find({i, o});
        if (cell == entry.second.end())
          user_error(path, ": ", name_of(entry.first), ": no line for in ", i, ", out ", o,
                     "; expected every in with every out");
        grid.cost.push_back(cell->second);
      }
  }
  return table;
}

double EnergyTable::cost(const std::vector<LayerShape>& layers) const {
  double total = 0;
  for (const LayerShape& l : layers) {
    Key key{Index(l.kind), l.kernel, l.stride, l.side};
    Index in = l.in, out = l.kind == LayerShape::depthwise ? 1 : l.out;
    auto found = grids.find(key);
    if (found == grids.end()) {
      std::string has;
      for (const auto& g : grids) has += (has.empty() ? "" : "; ") + name_of(g.first);
      user_error(path, ": needed: ", name_of(key), ", ", l.in, " channels in, ", l.out,
                 " out; the file has ", has);
    }
    const Grid& g = found->second;
    if (!within(g.in, in) || !within(g.out, out))
      user_error(path, ": needed: ", name_of(key), ", ", l.in, " channels in, ", l.out,
                 " out (a network's own widths and one more); the file has ", range(g.in), " in",
                 l.kind == LayerShape::depthwise ? "" : ", " + range(g.out) + " out",
                 " and is not extrapolated");
    Place i = place(g.in, in), o = place(g.out, out);
    auto at = [&](std::size_t di, std::size_t d) {
      return g.cost[(i.at + di) * g.out.size() + o.at + d];
    };
    auto between = [&](std::size_t di) {
      return o.share == 0 ? at(di, 0) : (1 - o.share) * at(di, 0) + o.share * at(di, 1);
    };
    total += i.share == 0 ? between(0) : (1 - i.share) * between(0) + i.share * between(1);
  }
  if (!std::isfinite(total))
    user_error(path, ": the costs of the network's layers add up to ", total,
               ", expected smaller ones");
  return total;
}

}  // namespace fission
