// Package keys holds what lets people and members in: the keys of users and the
// files that they are in, what follows from the secret of a cluster, and
// certificates.
//
//	key.go     Key: what a user logs in with, and its file
//	secret.go  Secret: the keys and passwords that who has it can compute
//	tls.go     Files: how a member and its clients use certificates
//	certify.go an authority and certificates for a cluster of one's own
//
// Keys are nkeys, which are Ed25519: members know public keys only.
package keys
