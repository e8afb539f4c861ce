/* Records which files a dynamically linked program opens, lists and misses. Preloaded into every process of a phase.
 *
 * Each record is appended to a file of its own in the folder that MLFLOW_PHASES_OBSERVE names, when a path is met for
 * the first time, with one write. No descriptor stays open, no memory is allocated, errno is left as it was found.
 * The records are described in observation/seen.py.
 */
#include "records.h"
#include "holding.h"
#include "files.h"
#include "making.h"
#include "looking.h"
#include "network.h"
#include "children.h"
#include "rings.h"
#include "kernel.h"
#include "attach.h"
#include "started.h"
#include "libraries.h"
