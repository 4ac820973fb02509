// Package wan simulates the wide-area network between regions: TCP proxies on
// loopback that gateways connect through, so that a region can be cut off for
// real, with the servers none the wiser.
//
//	wan.go         Network: regions, addresses, cuts
//	connection.go  one connection: who dials, whom to dial, when to end
//	pump.go        one direction of a connection: delay, silence, bytes
//
// Each region has one address, which all others dial and which its gateways
// advertise; gateways tell each other what addresses they know, so nothing but
// one address for all would keep them from going round the proxies:
//
//	Gateways         = Addresses()
//	GatewayAdvertise = Addresses()[own][0]
//	Attach(own, the address where the gateway listens), once it does
//
// Who dials, a proxy reads from the first line that the dialling gateway
// sends, CONNECT. That line comes only after the greeting of the gateway that
// was dialled, which therefore is the one thing that passes a cut: from a
// region that is not cut, to a gateway of one that is. It says that the server
// is there, and carries no data. CONNECT has to be readable: no TLS.
//
// A cut is for both directions. Reset closes the connections and resets new
// ones, as where a host or a firewall says no. Silent lets the bytes stand
// still, as where a cable is cut: nobody is told, and after the heal a
// connection goes on with what was sent, if both ends still want it.
package wan
