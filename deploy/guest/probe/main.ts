import { createGateway } from "../gateway/server.ts";
import { attackRoutes } from "./attack-routes.ts";

createGateway(attackRoutes).listen(8080, "127.0.0.1");
