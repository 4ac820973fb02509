package proto

// Protocol is the number of the protocol that is spoken here, and OldestProtocol
// that of the oldest one that is still understood. What others may ignore, such as
// a new field or a new question, is no new protocol; what they would misunderstand
// is. A release that brings a new one reads the one before, too, and goes on writing
// that until all members read the new one.
const (
	Protocol       = 1
	OldestProtocol = 1
)

// Understood says whether a message with this number is understood. Messages from
// before there were numbers have none, and are of protocol 1.
func Understood(number uint32) bool {
	number = max(1, number)
	return OldestProtocol <= number && number <= Protocol
}
