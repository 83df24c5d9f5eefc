// The audit: is what this program computes what the method says? Of a checkpoint on its data, or
// against a file of reference numbers; a line a statement, with its equation, the figure and its
// bound. Status 0 only if all hold.
#include "data/image_folder.h"
#include "nn/io/files.h"
#include "runners/audit/network.h"
#include "runners/audit/reference.h"
#include "runners/common/given_network.h"
#include "runners/common/program.h"
#include "runners/growth/history.h"

int main(int argc, char** argv) {
  using namespace fission;
  CommandLine app{
      "Checks the method's equations on a checkpoint and its data, or against reference numbers; "
      "status 0 only if all hold, 1 if not.",
      "audit"};
  std::string checkpoint, reference, dataset, directory, file_of_findings;
  GivenNetwork given;
  AuditSettings s;
  bool json = false, no_augment = false, strict = false;
  DeviceOptions device;
  auto option = [&](const char* name, auto& value, const std::string& text) {
    return app.add_option(name, value, text)->capture_default_str()->group("Checkpoint");
  };
  app.add_option("checkpoint", checkpoint, "a .safetensors file that fission wrote");
  app.add_option("--reference", reference,
                 "reference numbers in place of a checkpoint; what the file's kind allows is "
                 "checked. Default: none")
      ->excludes("checkpoint");
  app.add_flag("--strict", strict,
               "of --reference: judge every neuron in float32 too, and let no bound give way to "
               "rounding, which numbers of small networks keep")
      ->needs("--reference");
  app.add_option("--dataset", dataset, "default: the one that the checkpoint was trained on")
      ->group("Checkpoint");
  app.add_option("--data", directory,
                 "folder of its files; default: where the system's package puts it")
      ->group("Checkpoint");
  option("--few", s.few, "images where float64 and loss differences are wanted")
      ->check(in_range(1, 65536));
  option("--batches", s.batches, "batches that the solvers and the exact oracle see")
      ->check(in_range(1, 1000000));
  option("--batch", s.batch, "images in each")->check(in_range(1, 65536));
  option("--passes", s.passes, "over these batches: RQ-SGD's epochs, Lanczos's products")
      ->check(in_range(1, 1000));
  option("--rq-batch", s.rq_batch, "images a step of RQ-SGD; the paper: 64")
      ->check(in_range(1, 65536));
  option("--neurons", s.neurons, "how many are really split, each in a layer of its own")
      ->check(in_range(1, 1000));
  option("--grow", s.grow, "budget of the selection, as cifar's")->check(in_range(0.0, 1.0));
  option("--epsilon", s.epsilon, "of the split that is made")->check(in_range(0.0, 1.0));
  Option* relu_beta = app.add_option("--relu-beta", s.curvature.relu_beta,
                                     "sharpness of the softplus surrogate of ReLU's curvature; "
                                     "with --reference the authors' for its network, unless it is "
                                     "given")
                          ->capture_default_str()
                          ->check(in_range(0.0, 1000.0));
  option("--work", s.work,
         "multiplications that the exact oracle may take; layers beyond are left out and named")
      ->check(in_range(0.0, 1e18));
  option("--memory", s.memory, "bytes of its matrices")->check(in_range(0.0, 1e15));
  option("--seed", s.seed, "of random directions and the augmentation key")->check(in_range(0));
  app.add_flag("--no-augment", no_augment, "images as they are")->group("Checkpoint");
  app.add_flag("--json", json, "one JSON object a line instead of prose");
  app.add_option("--findings", file_of_findings,
                 "write what --json says into this file too; report shows round-R-audit.jsonl of a "
                 "run's folder; default: none");
  given.add_to(app);
  device.add_to(app);
  int failed = 0;
  int status = run_program(app, argc, argv, [&] {
    s.augment = !no_augment;
    check_output("--findings", file_of_findings, "{\"equation\":", "older findings");
    Findings findings(json ? Findings::Print::json : Findings::Print::prose, file_of_findings);
    Backend& backend = device.open();
    if (!reference.empty()) {
      app.warn_unused({"Checkpoint", "Network"}, "--reference takes the file's own");
      audit_reference(
          findings, reference, backend,
          relu_beta->count() ? std::optional<double>(s.curvature.relu_beta) : std::nullopt, strict);
    } else {
      if (checkpoint.empty()) user_error("a checkpoint or --reference FILE is required");
      given.dataset = dataset;
      TensorFile file = given.read(checkpoint);
      NetworkConfig c = read_config(file);
      check_metadata(file, *load_network(file, backend));
      dataset = given.dataset_of(file);
      data::ImageFolderOptions folder;
      folder.directory = directory, folder.size = c.size;
      data::Dataset images =
          dataset == "imagenet"
              ? data::in_memory(data::FolderImages(folder), s.batches * s.batch)
              : data::load_dataset(dataset, directory, data::Split::train, s.batches * s.batch);
      check_fits(checkpoint, c, images);
      if (c.activation != Activation::relu)
        app.warn_unused({"--relu-beta"}, "no ReLU in the network");
      app.warn_unused(
          {s.few > images.count ? "--few" : "", s.rq_batch > images.count ? "--rq-batch" : ""},
          text("there are ", images.count, " images, all are taken"));
      const Index layers = Index(c.widths.size());
      if (s.neurons > layers)
        app.warn_unused({"--neurons"}, text("one of each of the ", layers, " layers is split"));
      if (!json)
        std::printf("%s\n%s: %s, %s, on %ld training images of %s\n", device.threads_line.c_str(),
                    one_line(checkpoint).c_str(), c.model.c_str(), name_of(c.activation),
                    long(images.count), dataset.c_str());
      NetworkAudit(findings, file, images, backend, s).all();
    }
    findings.finish();
    failed = findings.failed();
  });
  return status ? status : failed > 0;
}
