// Figures as inline SVG, drawn by gnuplot. What is given to it is numbers and this program's own
// words, never a text from a file. Its colours are CSS variables of the page: rgb '#0000NN' in a
// script (NN hexadecimal) is var(--sNN) there, so that they follow a light or a dark page.
#pragma once
#include <string>
#include <vector>

namespace fission {

struct Series {
  std::string title;                      // of its group in the SVG: "run 1: test loss"
  std::string style;                      // gnuplot's: "using 1:2 with lines lc rgb '#000001'"
  std::vector<std::vector<double>> rows;  // an empty row is a gap
};

struct Figure {
  std::string title;     // read out by screen readers
  int width, height;     // its own size; a page scales it
  std::string settings;  // gnuplot's commands before the plot
  std::vector<Series> series;
};

bool have_gnuplot();
std::string colour(int number);                       // "'#00000a'"
std::string drawn(const Figure& figure, int number);  // <svg>…</svg>; number: makes its ids unique

std::string html(const std::string& text);  // with &lt; and its like

}  // namespace fission
