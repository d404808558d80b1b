// What kind of operation a request carries; shared by client and server. Pure.
#ifndef F3_METADATA_REQUEST_KIND_H_
#define F3_METADATA_REQUEST_KIND_H_

#include "metadata/metadata.pb.h"

namespace f3::meta {

// The operation changes something and so needs a token: it is applied at most once.
bool IsMutation(const Request& request);

// Withdraws the leases that a reply grants, for a reply that is repeated or came too late.
void WithdrawGrants(Reply* reply);

}  // namespace f3::meta

#endif  // F3_METADATA_REQUEST_KIND_H_
