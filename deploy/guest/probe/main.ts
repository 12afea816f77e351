import { createGateway } from "../gateway/server.ts";
import { runRoute } from "./run-route.ts";

createGateway(runRoute).listen(8080, "127.0.0.1");
