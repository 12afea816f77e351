/** The launcher's process for tests with stubs in Firecracker's place. Everything but the check of the two programs is the launcher's own. */
import { runLauncher } from "../main.ts";
import { openUnlockedJailer } from "./stub-subject.ts";

runLauncher(openUnlockedJailer);
