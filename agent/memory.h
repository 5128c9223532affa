#pragma once

namespace greengate::agent {

/// Before any thread: one heap, and freed memory goes back soon.
void prepare_memory();

/// After something large or rare (start, a collection, a lost connection): gives free heap back,
/// and lets go of the pages of code that only that needed. Those are the file's own, unchanged
/// pages; what runs again is mapped again at its next use.
void give_back_memory();

}  // namespace greengate::agent
