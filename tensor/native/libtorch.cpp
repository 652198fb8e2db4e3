// All that sees libtorch's tensors but the decoder, compiled as one: reading libtorch's headers costs seconds each time,
// and Go compiles every file of a package when one of them changes.
#include "adamw.hpp"
#include "attention.hpp"
#include "autograd.hpp"
#include "create.hpp"
#include "fused.hpp"
#include "gate.hpp"
#include "logprob.hpp"
#include "norm.hpp"
#include "normed.hpp"
#include "products.hpp"
#include "rope.hpp"
#include "sample.hpp"
