// A million frames each way, and not one call to the allocator. The count is made by a program of its own, since a test bundle has
// threads and libraries that allocate: see tools/fastpath-bench.

import Testing

@Suite struct AllocationTests {
    private static let program = Program.find("fastpath-bench")

    @Test(.enabled(if: AllocationTests.program != nil, "there is no fastpath-bench beside the test bundle"))
    func framesAllocateNothing() throws {
        let run = try Workplace().start(["--allocations"], program: AllocationTests.program)
        #expect(run.status == 0, "\(run.out)\(run.err)")
        #expect(run.out.contains("\n0 allocations over 1000000 frames each way\n"), "\(run.out)")
    }

    /// One block a batch is noticed.
    @Test(.enabled(if: AllocationTests.program != nil, "there is no fastpath-bench beside the test bundle"))
    func allocationsAreNoticed() throws {
        let run = try Workplace().start(["--allocations", "--prove"], program: AllocationTests.program)
        #expect(run.status == 1, "\(run.out)\(run.err)")
        #expect(run.out.contains("unicast: 5000 allocations sending, 5000 receiving"), "\(run.out)")
    }
}
