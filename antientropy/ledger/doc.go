// Package ledger is the accounts of what was verified: by keyspace and peer, when the
// session began that last found or made each range equal, and to which level of
// purging.
//
// An account is right for one version of the catalog; what was verified of a range
// with other replicas is worth nothing when they change. It is persisted whole.
package ledger
