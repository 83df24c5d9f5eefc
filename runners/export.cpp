// Writes a checkpoint's network, grown or not, as an ONNX file for other programs (nn/io/onnx.h
// says how). Prints what the file takes and gives; expected: another runtime's logits are this
// program's to float32 rounding.
#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "data/dataset.h"
#include "nn/io/checkpoint.h"
#include "nn/io/files.h"
#include "nn/io/json.h"
#include "nn/io/onnx.h"
#include "runners/common/console.h"
#include "runners/common/given_network.h"
#include "runners/common/program.h"
#include "runners/common/signals.h"
#include "runners/growth/history.h"

namespace fission {
namespace {

Index parse_batch(const std::string& text) {
  Index n = 0;
  if (text == "dynamic") return 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || end != text.data() + text.size() || n < 1 || n > 65536)
    user_error("--batch '", text, "': expected a number of images from 1 to 65536, or 'dynamic'");
  return n;
}

std::string comma_separated(const std::vector<double>& values) {
  std::string s;
  for (double v : values) s += (s.empty() ? "" : ",") + compact(v);
  return s;
}

}  // namespace
}  // namespace fission

int main(int argc, char** argv) {
  using namespace fission;
  CommandLine app{
      "Writes a checkpoint's network as an ONNX file, opset " + std::to_string(onnx_opset) + ".",
      "export"};
  std::string checkpoint, out, batch = "dynamic", dataset;
  GivenNetwork given;
  bool raw = false, json = false;
  app.add_option("checkpoint", checkpoint, "a .safetensors file that fission wrote")->required();
  app.add_option(
      "--out", out,
      "file to write; -: to stdout; default: the checkpoint's name with .onnx in the place of its "
      "ending");
  app.add_option("--batch", batch, "images at a time: a number, or dynamic for any number")
      ->capture_default_str();
  app.add_flag("--raw", raw,
               "the input is byte/255, from 0 to 1, and the graph normalises it; else it is "
               "normalised as in training");
  app.add_option(
      "--dataset", dataset,
      "whose mean and std normalise; default: the one that the checkpoint was trained on");
  app.add_flag("--json", json, "one JSON object instead of prose");
  given.add_to(app);
  return run_program(app, argc, argv, [&] {
    OnnxSettings settings;
    settings.batch = parse_batch(batch);
    given.dataset = dataset;
    TensorFile file = given.read(checkpoint);
    auto network = load_network(file, open_backend("auto"));
    check_metadata(file, *network);
    const NetworkConfig& c = network->config();
    if (out.empty()) out = std::filesystem::path(checkpoint).replace_extension(".onnx").string();
    if (out != "-")
      check_output("--out", out,
                   "\x08\x07\x12\x07"
                   "fission",
                   "an ONNX file of fission's");

    if (dataset.empty() && !file.metadata.count("dataset"))
      user_error(checkpoint,
                 ": metadata 'dataset' is missing, expected the data set it was trained on: "
                 "--dataset says it");
    if (dataset.empty()) dataset = file.metadata_at("dataset");
    const data::Normalisation colours = data::normalisation_of(dataset);
    if (Index(colours.mean.size()) != c.channels)
      user_error(checkpoint, ": a network for images of ", c.channels,
                 c.channels == 1 ? " colour; " : " colours; ", dataset, " has ",
                 colours.mean.size());
    if (raw) settings.mean = colours.mean, settings.std = colours.std;
    const std::string mean = comma_separated(colours.mean), std = comma_separated(colours.std),
                      input = raw ? "byte/255" : "(byte/255 - mean)/std";
    settings.metadata = {{"dataset", dataset}, {"mean", mean}, {"std", std}, {"input", input}};
    for (const char* key : {"seed", "round"})
      if (file.metadata.count(key)) settings.metadata[key] = file.metadata_at(key);
    const std::string bytes = onnx_of(*network, settings);
    // the words about it go where the bytes do not
    const bool piped = out == "-" || out == "/dev/stdout";
    std::FILE* words = piped ? stderr : stdout;
    if (piped && stdout_missing())
      user_error("--out ", out, ": stdout is closed, expected a reader");
    if (piped) std::fwrite(bytes.data(), 1, bytes.size(), stdout);
    else write_file_atomically(out, bytes);

    const std::string n = settings.batch ? std::to_string(settings.batch) : "N",
                      macs = in_millions(network->macs());
    nlohmann::ordered_json j{{"checkpoint", checkpoint},
                             {"out", out},
                             {"bytes", bytes.size()},
                             {"opset", onnx_opset},
                             {"batch", batch}};
    j["input"] = {{"name", "input"}, {"shape", {n, c.channels, c.size, c.size}}, {"is", input}};
    j["output"] = {{"name", "logits"}, {"shape", {n, c.classes}}};
    j["dataset"] = dataset, j["mean"] = colours.mean, j["std"] = colours.std,
    j["macs"] = network->macs();
    if (json) std::fprintf(words, "%s\n", json_text(j).c_str());
    else
      std::fprintf(
          words,
          "%s: opset %d; input (%s,%ld,%ld,%ld) = %s, mean %s, std %s (%s); logits (%s,%ld); %s "
          "MACs per image, %zu bytes\n",
          one_line(out).c_str(), onnx_opset, n.c_str(), long(c.channels), long(c.size),
          long(c.size), input.c_str(), mean.c_str(), std.c_str(), dataset.c_str(), n.c_str(),
          long(c.classes), macs.c_str(), bytes.size());
  });
}
