// A device whose queues run as late as they may: work lies in a queue until an event that somebody
// waits for needs it. So a missing event shows as wrong bytes, not as a rare race. One of the
// queues may run at once instead: an eager transfer shows what overwrites bytes that computation
// has yet to read, an eager computation what reads too early.
#pragma once
#include <cstdlib>
#include <deque>
#include <functional>

#include "tensor/reference/reference.h"

namespace fission {
namespace test {

class LateBackend : public ReferenceBackend {
 public:
  enum class Eager { none, compute, transfer };
  explicit LateBackend(Eager eager) : eager_(eager) {}
  Arena& arena(Memory kind) override {
    return kind == Memory::host ? host_ : ReferenceBackend::arena(kind);
  }
  std::string name() const override { return "late"; }

  void copy(void* to, const void* from, std::size_t bytes, Direction direction,
            Queue queue) override {
    push(queue, [=] { ReferenceBackend::copy(to, from, bytes, direction, queue); });
    const void* host = direction == Direction::host_to_device   ? from
                       : direction == Direction::device_to_host ? to
                                                                : nullptr;
    if (host && !host_.holds(host)) run(queue, lines_[int(queue)].pushed);  // done with on return
  }
  std::unique_ptr<Event> record(Queue queue) override {
    auto mark = std::make_unique<Mark>();
    mark->queue = queue;
    mark->position = lines_[int(queue)].pushed;
    return mark;
  }
  void wait(Queue queue, const Event& event) override {
    Mark mark = static_cast<const Mark&>(event);
    push(queue, [this, mark] { run(mark.queue, mark.position); });
  }
  void wait_on_host(const Event& event) override {
    const Mark& mark = static_cast<const Mark&>(event);
    run(mark.queue, mark.position);
  }
  void synchronize() override {
    for (Queue queue : {Queue::compute, Queue::transfer}) run(queue, lines_[int(queue)].pushed);
  }

 private:
  struct Mark : Event {
    Queue queue;
    std::size_t position;
  };
  struct Line {
    std::deque<std::function<void()>> waiting;
    std::size_t pushed = 0, done = 0;
  };
  void push(Queue queue, std::function<void()> work) {
    Line& line = lines_[int(queue)];
    line.waiting.push_back(std::move(work));
    line.pushed++;
    if (eager_ == (queue == Queue::compute ? Eager::compute : Eager::transfer))
      run(queue, line.pushed);
  }
  void run(Queue queue, std::size_t position) {
    Line& line = lines_[int(queue)];
    while (line.done < position) {
      auto work = std::move(line.waiting.front());
      line.waiting.pop_front();
      line.done++;
      work();
    }
  }

  Eager eager_;
  HostArena host_;
  Line lines_[2];
};

}  // namespace test
}  // namespace fission
