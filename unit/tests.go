package unit

import "slices"

// pathTests are the conditions whose value is a path.
var pathTests = []string{
	"PathExists", "PathExistsGlob", "PathIsDirectory", "PathIsSymbolicLink", "PathIsMountPoint", "PathIsReadWrite", "PathIsEncrypted",
	"DirectoryNotEmpty", "FileNotEmpty", "FileIsExecutable", "NeedsUpdate",
}

var otherTests = []string{
	"Architecture", "Firmware", "Virtualization", "Host", "KernelCommandLine", "KernelVersion", "Credential", "Environment", "Security",
	"Capability", "ACPower", "FirstBoot", "User", "Group", "ControlGroupController", "Memory", "CPUs", "CPUFeature", "OSRelease",
	"MemoryPressure", "CPUPressure", "IOPressure",
}

func pathTest(test string) bool { return test != "NeedsUpdate" && slices.Contains(pathTests, test) }

func knownTest(test string) bool {
	return slices.Contains(pathTests, test) || slices.Contains(otherTests, test)
}
