package template

const (
	oldGroup    = "47eaa0992cb6416d86dc283cf0480ff9"
	oldTemplate = "1509bb0a9bf143318a118783593942a4"
)

// oldIDs are those that the first template had, before ids were made from names. Whoever has imported it keeps the items and
// their history when importing a newer one.
func oldIDs() map[string]string {
	return map[string]string{
		"item berth.ping":                               "f5ec52ed0108447592e1bc7656670b14",
		"item berth.version":                            "5d32fe61985f44e7aa095ee82bb29976",
		"trigger berth.ping":                            "59ba1b0d5c904158a909406c2e416788",
		"rule berth.discovery":                          "9a1e40b458154a9999e2d15364c7a500",
		"prototype berth.cpu.usage[{#APP},{#SEAT}]":     "68b4aef73eaa4e179d8a4eace693ae2d",
		"prototype berth.cpu.quota[{#APP},{#SEAT}]":     "142c83647806457793e783e7eb04b39b",
		"prototype berth.cpu.throttled[{#APP},{#SEAT}]": "3b041641178844f2a60df25453fe2e85",
		"trigger berth.cpu.throttled[{#APP},{#SEAT}] is throttled (more than {$BERTH.CPU.THROTTLED.MAX} % of the periods for 5 minutes)": "00a154d85ed84bccb5c719c2add9ca88",
		"prototype berth.mem.used[{#APP},{#SEAT}]":  "c0290103855d4f5599ec8712e8e3574f",
		"prototype berth.mem.limit[{#APP},{#SEAT}]": "6e704245a4ff41e3a7949b80dcb0b82e",
		"prototype berth.mem.pct[{#APP},{#SEAT}]":   "de1b1471320a48eab7a788d106762832",
		"trigger berth.mem.pct[{#APP},{#SEAT}] is short of memory (more than {$BERTH.MEM.PCT.MAX} % of its limit for 5 minutes)": "4350cc1721e54f21acd552a09ddbef12",
		"prototype berth.net.in[{#APP},{#SEAT}]":                  "9ed89eddd6844325b600e6129ec04ece",
		"prototype berth.net.out[{#APP},{#SEAT}]":                 "627bf3225fac4cb6a34acb115ee347dd",
		"prototype berth.procs[{#APP},{#SEAT}]":                   "a930d55d954540f3ae889fe46f2c7a8c",
		"prototype berth.uptime[{#APP},{#SEAT}]":                  "43f2f1936e854f08b5927b0fe339d309",
		"trigger berth.uptime[{#APP},{#SEAT}] has been restarted": "990d3cd8381d422f850c86bd84e0164b",
		"prototype berth.health[{#APP},{#SEAT}]":                  "e07cb5793e7f497bbcc1c0c8b0cdf20a",
		"trigger berth.health[{#APP},{#SEAT}] is unhealthy":       "78f6d82486ea4214b5c34e7e77ca4499",
		"valuemap Berth health":                                   "1dcd327f761e47cbbb7e8913655c1d15",
	}
}
