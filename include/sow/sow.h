/* Sow: makes, measures and proves starting points of learning runs. The whole public interface. */
#ifndef SOW_H
#define SOW_H

#define SOW_VERSION "0.1.0"

#include "sow/data.h"
#include "sow/fetch.h"
#include "sow/file.h"
#include "sow/image.h"
#include "sow/init.h"
#include "sow/json.h"
#include "sow/linalg.h"
#include "sow/log.h"
#include "sow/mask.h"
#include "sow/memory.h"
#include "sow/method.h"
#include "sow/nn.h"
#include "sow/npy.h"
#include "sow/ops.h"
#include "sow/optim.h"
#include "sow/prove.h"
#include "sow/random.h"
#include "sow/report.h"
#include "sow/run.h"
#include "sow/safetensors.h"
#include "sow/state.h"
#include "sow/stats.h"
#include "sow/status.h"
#include "sow/study.h"
#include "sow/table.h"
#include "sow/tape.h"
#include "sow/tensor.h"
#include "sow/text.h"
#include "sow/threads.h"
#include "sow/weights.h"

#endif
