// Package moves is what the commands about changes of the layout share: which
// member an id means, what a plan and its progress look like, and how a change is
// followed until it is over.
//
// Plans and progress are written by pure functions, so that tests hold them against
// golden strings; what is drawn anew on a terminal goes through one Show. A Cluster
// asks the admin port it was given, and those of other members when that one is
// gone, since a node that is decommissioned ends by itself. There are no goroutines.
package moves
