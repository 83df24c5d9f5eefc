#include "runners/report/figures.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <regex>
#include <sstream>

#include "runners/common/children.h"
#include "tensor/check.h"

namespace fission {
namespace {

using File = std::unique_ptr<FILE, int (*)(FILE*)>;
File unnamed_file() {
  File f(std::tmpfile(), std::fclose);
  if (!f)
    user_error("a temporary file cannot be made (TMPDIR says where): ", std::strerror(errno),
               ", expected room for one");
  return f;
}

// What gnuplot writes for this script. Both lie in files without a name: a pipe each way could
// wait for the other.
std::string output_of(const std::string& script) {
  File in = unnamed_file(), out = unnamed_file();
  std::fwrite(script.data(), 1, script.size(), in.get());
  std::fflush(in.get());
  const int status = run(text("(GNUTERM=svg gnuplot -d /dev/fd/", fileno(in.get()), " >/dev/fd/",
                              fileno(out.get()), " 2>&1) 2>/dev/null"));
  std::string said;
  std::rewind(out.get());
  for (int c; (c = std::fgetc(out.get())) != EOF;) said += char(c);
  if (status != 0 || said.find("</svg>") == std::string::npos)
    user_error("gnuplot: status ", status, ": ", said.substr(0, 200),
               ": expected a whole picture (Debian: gnuplot-nox; room for temporary files)");
  return said;
}

}  // namespace

bool have_gnuplot() {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');)
    if (access(((folder.empty() ? "." : folder) + "/gnuplot").c_str(), X_OK) == 0) return true;
  return false;
}

std::string colour(int number) {
  char s[16];
  std::snprintf(s, sizeof s, "'#%06x'", number);
  return s;
}

std::string drawn(const Figure& f, int number) {
  std::string script = text("set encoding utf8\nset terminal svg size ", f.width, ",", f.height,
                            " dynamic noenhanced font 'sans,13' linewidth 1.4\n"),
              plots;
  for (std::size_t i = 0; i < f.series.size(); i++) {
    const Series& s = f.series[i];
    script += text("$d", i, " << EOD\n");
    for (const auto& row : s.rows) {
      for (double x : row) script += text(x, " ");
      script += "\n";
    }
    script += "EOD\n";
    plots += text(i ? ", " : "plot ", "$d", i, " ", s.style, " notitle");
  }
  std::string svg = output_of(script + f.settings + plots + "\n");
  svg = svg.substr(svg.find("<svg"));
  svg = svg.substr(0, svg.rfind("</svg>") + 6);
  // black is the page's ink, #0000NN the page's variable NN; then the ids, and what is not needed
  auto replace = [&](const char* what, const std::string& by) {
    svg = std::regex_replace(svg, std::regex(what), by);
  };
  replace("rgb\\( *0, *0, *0\\)|\"black\"|'black'", "currentColor");
  replace("rgb\\( *0, *0, *([0-9]+)\\)", "var(--s$1)");
  replace("=currentColor", "=\"currentColor\"");
  for (std::size_t i = 0; i < f.series.size(); i++)
    replace(text("<title>gnuplot_plot_", i + 1, "</title>").c_str(),
            "<title>" + html(f.series[i].title) + "</title>");
  replace("gnuplot_|\\bgp(?=Pt|Dot)", text("f", number, "_"));
  replace("<title>Gnuplot</title>\\s*<desc>[^<]*</desc>", "");
  replace("<filter[^>]*>\\s*<[^>]*>\\s*<[^>]*>\\s*</filter>", "");
  replace("<g [^>]*>\\s*</g>\\n?", "");
  replace(" font-family=\"[^\"]*\"", "");
  replace("<svg\\s", text("<svg role=\"img\" aria-label=\"", html(f.title), "\" "));
  replace("\\s*\\n\\s*", "\n");
  return svg;
}

std::string html(const std::string& text) {
  std::string s;
  for (char c : one_line(text))
    s += c == '&'   ? "&amp;"
         : c == '<' ? "&lt;"
         : c == '>' ? "&gt;"
         : c == '"' ? "&quot;"
                    : std::string(1, c);
  return s;
}

}  // namespace fission
